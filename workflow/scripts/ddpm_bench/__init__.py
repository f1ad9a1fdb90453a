"""ddpm-bench: from raw images to trained, sampled, scored and reported diffusion models.

The library knows nothing of Snakemake. Data flows one way, and no module imports one that comes
after it: config -> data -> training -> sampling -> features -> metrics -> tables -> figures.
"""

__version__ = "0.1.0"

"""This workflow as a module of somebody else's: its prefix, and the files that two modules share.

A module gets its config from the outer workflow, and may be used several times in one workflow with
different configs. Each use parses the Snakefile anew.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ddpm_bench.cli import PROJECT
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.loading import check_config
from ddpm_bench.config.paths import one_spelling
from ddpm_bench.config.reading import read_plain
from ddpm_bench.errors import UserError
from ddpm_bench.planning.fetched_files import datasets_by_fetched_name, fetched_name
from ddpm_bench.planning.jobs import all_datasets

# Of paths with these meanings Snakemake would put the prefix in front once more.
PREFIXED_BY_SNAKEMAKE = ("input", "output", "log", "benchmark")
# An attribute of Snakemake's workflow: the configs of its modules by their names, in their order.
CONFIGS = "configs_of_ddpm_bench"


def module_name(workflow: Any) -> str | None:
    """Return the name under which an outer workflow uses the Snakefile that is being parsed as a
    module; None where it is the main one."""
    return workflow.modifier.namespace


def checked_config(workflow: Any, raw: dict[str, Any], project: Path) -> Config:
    """Return the config of the Snakefile that is being parsed, with the module's prefix if any.

    project: the folder of that Snakefile. Raises UserError for a wrong config; and for a module
    without a config, with a kind of prefix that cannot be followed, from another copy of this
    project than the library that is loaded, with the results folder of another module, or with its
    folder of downloads in another spelling.
    """
    name = module_name(workflow)
    if name is None:
        files = list(dict.fromkeys([*workflow.configfiles, *workflow.overwrite_configfiles]))
        given = workflow.config_settings.config_args or ()
        if workflow.is_main_process:
            _refuse_what_snakemake_overlooks(files, given)
        return check_config(raw, origin=" with ".join(map(str, [*files, *given])))
    if project.resolve() != PROJECT:
        raise UserError(
            f"module {name}: comes from {project}, and another module from {PROJECT}; use one copy "
            "of ddpm-bench for all modules of a workflow"
        )
    if not raw:
        raise UserError(
            f"module {name}: has no config; give it one, with the keys of config/README.md: "
            "`config: config`, or a part of it such as `config: config['diffusion']`"
        )
    config = check_config(raw, origin=f"config of module {name}")
    config = under_prefix(config, take_over_prefix(workflow.modifier.path_modifier, name))
    _register(_configs(workflow), name, config)
    return config


def _refuse_what_snakemake_overlooks(files: Iterable[Path], given: Iterable[str]) -> None:
    """Raise UserError for keys given twice: its loader and its `--config` let the last one win.

    files: config files; a later one may change keys of those before. given: values of `--config`.
    """
    for path in files:
        read_plain(Path(path))
    names = [item.partition("=")[0] for item in given]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--config {name}: is given twice; keep one")


def take_over_prefix(modifier: Any, name: str) -> str:
    """Return the prefix that Snakemake puts in front of a module's paths, and keep it from that.

    The prefix goes to the config's folders instead, so that parameters and all that looks at the
    disk have it too. modifier: Snakemake's PathModifier. Raises UserError for `replace_prefix`, and
    for a prefix of the workflow that uses the outer workflow as a module.
    """
    around = modifier.inner_modifier
    while around is not None:
        if around.prefix or around.modifies_prefixes:
            raise UserError(
                f"module {name}: it lies in a module with a prefix, which cannot be followed here; "
                "give results_dir and resources_dir in its config instead"
            )
        around = around.inner_modifier
    if modifier.modifies_prefixes:
        raise UserError(
            f"module {name}: replace_prefix cannot be followed; give results_dir and resources_dir "
            "in its config instead"
        )
    modifier.skip_properties.update(PREFIXED_BY_SNAKEMAKE)
    return modifier.prefix or ""


def under_prefix(config: Config, prefix: str) -> Config:
    """Return a config with its two folders below a prefix, unless they are absolute or begin with
    `..`, as Snakemake has it. Raises UserError for a folder that cannot be one."""
    moved = {}
    for key in ("results_dir", "resources_dir"):
        folder = getattr(config, key)
        if prefix and folder == str(Path.cwd()):
            raise UserError(f"{key} = '.': a prefix goes before the name of a folder; give one")
        outside = Path(folder).is_absolute() or folder.startswith("..")
        try:
            moved[key] = folder if outside else one_spelling(prefix + folder)
        except ValueError as problem:
            raise UserError(f"{key} = {prefix + folder!r}: {problem}") from None
    return config.model_copy(update=moved)


def fetched_here(workflow: Any, config: Config) -> list[str]:
    """Return the names of the files that the rules of this config fetch.

    They are all but those that an earlier module fetches into the same folder.
    """
    elsewhere = {
        fetched_name(other, dataset)
        for other in _sharing(workflow, config)
        for dataset in all_datasets(other)
    }
    return [name for name in datasets_by_fetched_name(config) if name not in elsewhere]


def inception_is_fetched_here(workflow: Any, config: Config) -> bool:
    """Return False where an earlier module fetches Inception's weights into the same folder."""
    return not _sharing(workflow, config)


def _sharing(workflow: Any, config: Config) -> list[Config]:
    """Return the configs of earlier modules with the same folder of downloads."""
    name = module_name(workflow)
    if name is None:
        return []
    configs = _configs(workflow)
    earlier = list(configs)[: list(configs).index(name)]
    return [configs[other] for other in earlier if _same(configs[other], config, "resources_dir")]


def _configs(workflow: Any) -> dict[str, Config]:
    return vars(workflow).setdefault(CONFIGS, {})


def _register(configs: dict[str, Config], name: str, config: Config) -> None:
    for other, used in configs.items():
        if other == name:
            continue
        if _same(used, config, "results_dir"):
            raise UserError(
                f"modules {other} and {name} have the same results_dir, {config.results_dir!r}; "
                "give each its own"
            )
        folders = used.resources_dir, config.resources_dir
        if _same(used, config, "resources_dir") and folders[0] != folders[1]:
            raise UserError(
                f"modules {other} and {name} name one resources_dir in two ways, {folders[0]!r} "
                f"and {folders[1]!r}, which Snakemake compares as text; write it alike"
            )
    configs[name] = config


def _same(one: Config, other: Config, key: str) -> bool:
    return Path(getattr(one, key)).absolute() == Path(getattr(other, key)).absolute()

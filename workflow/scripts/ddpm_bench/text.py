"""Sizes, times and counts as text for people."""


def size_text(size: int) -> str:
    """Return a size in bytes as text: 512 bytes, 3.2 MB, 80 GB (units of powers of 1000)."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"


def hours_text(hours: float | None) -> str:
    """Return hours with two decimals, "<0.01" for less, "?" for None."""
    if hours is None:
        return "?"
    return f"{hours:,.2f}" if hours >= 0.005 or hours == 0 else "<0.01"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, which takes an s in the plural: 1 file, 1,200 files."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

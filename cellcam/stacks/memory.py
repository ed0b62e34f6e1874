"""The memory of this machine, so that what cannot fit is refused and not tried."""

from __future__ import annotations

import os
from functools import lru_cache

from cellcam.errors import InputError


@lru_cache(1)
def machine_bytes() -> int | None:
    """Main memory of this machine in bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def check_fits(n_bytes: int, what: str, advice: str) -> None:
    """Raise `InputError` if ``n_bytes`` are more than this machine has.

    Parameters
    ----------
    what : what needs them, with its place: the subject of the message
    advice : what to do instead, a sentence
    """
    known = machine_bytes()
    if known is not None and n_bytes > known:
        raise InputError(
            f"{what} needs {n_bytes / 2**30:.1f} GiB, and this machine has {known / 2**30:.1f} GiB "
            f"of memory. {advice}"
        )

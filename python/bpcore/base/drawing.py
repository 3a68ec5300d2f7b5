"""Where plots go: every `plot` of the package draws into axes that are given, or makes a figure."""

from __future__ import annotations

from typing import Any

from . import optional


def panels(what: str, names: list[str], axes: Any, columns: int = 0) -> list[Any]:
    """One matplotlib Axes for each name: those given, or those of a new figure.

    Parameters
    ----------
    what : str
        Who draws, for errors.
    names : list of str
        What is drawn, one panel each.
    axes : Axes, list of Axes or None
    columns : int
        Of a new figure; 0 is all panels in one row.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the number of axes is not that of the names.
    """
    plt = optional.require("matplotlib.pyplot", "plot", what)
    if axes is None:
        wide = columns or len(names)
        high = -(-len(names) // wide)
        size = (4.8 * wide, 3.6 * high)
        _, made = plt.subplots(high, wide, squeeze=False, figsize=size, layout="constrained")
        axes = made.flat
    given = list(axes) if hasattr(axes, "__iter__") else [axes]
    if len(given) != len(names):
        raise ValueError(f"axes: got {len(given)}, expected {len(names)}, one for each of {names}")
    return given


def epochs(ax: Any, what: str) -> None:
    """Label a panel of `what` against the epoch, which is a whole number.

    Ticks that the user has set stay, as does a scale of the user's.
    """
    from matplotlib.ticker import MaxNLocator

    ax.set(xlabel="epoch", ylabel=what)
    locator = ax.xaxis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)

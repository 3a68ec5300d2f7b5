"""What a diagnosis says: findings in words, numbers by layer, and how they are shown."""

from __future__ import annotations

import dataclasses
import html
import math
from typing import Any

from ..base import drawing, svg
from ..base.plain import Plain

# A chain of causes: what stands earlier explains what stands later, so it is to be mended first.
KINDS = (
    "non_finite",
    "constant_input",
    "constant_target",
    "unreachable_target",
    "nothing_trainable",
    "single_row_batches",
    "symmetric_weights",
    "unscaled_input",
    "paralysis",
    "exploding_gradients",
    "overflow",
    "saturation",
    "dead_units",
    "vanishing_gradients",
    "unscaled_target",
    "learning_rate_too_high",
    "heavy_dropout",
    "class_imbalance",
    "learning_rate_too_low",
    "loss_above_guess",
    "linear_model",
    "no_signal",
    "overfitting",
    "plateau",
)
SEVERITIES = ("critical", "warning")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One reason why a model does not learn.

    Attributes
    ----------
    kind : str
        One of ``"non_finite"``, ``"constant_input"``, ``"constant_target"``,
        ``"unreachable_target"``, ``"nothing_trainable"``, ``"single_row_batches"``,
        ``"symmetric_weights"``, ``"unscaled_input"``, ``"paralysis"``,
        ``"exploding_gradients"``, ``"overflow"``, ``"saturation"``, ``"dead_units"``,
        ``"vanishing_gradients"``, ``"unscaled_target"``, ``"learning_rate_too_high"``,
        ``"heavy_dropout"``, ``"class_imbalance"``, ``"learning_rate_too_low"``,
        ``"loss_above_guess"``, ``"linear_model"``, ``"no_signal"``, ``"overfitting"``,
        ``"plateau"``.
    severity : {"critical", "warning"}
        Critical: the model cannot learn while this lasts.
    message : str
        What was measured, with the numbers.
    remedy : str
        What to do.
    layer : str
        The layer where it is worst, an input's or output's name, or ``""``: the whole model.
    """

    kind: str
    severity: str
    message: str
    remedy: str
    layer: str = ""

    def __str__(self) -> str:
        where = f" at {self.layer!r}" if self.layer else ""
        return f"[{self.severity}] {self.kind}{where}: {self.message} Remedy: {self.remedy}"


@dataclasses.dataclass
class LayerReport:
    """One call of a layer, over all rows of the sample; nan where a number has no meaning.

    Attributes
    ----------
    layer, class_name, activation : str
        A shared layer's k-th call (from 0) is ``name:k`` for k > 0.
    units : int
        Length of the output's last axis.
    activation_mean, activation_variance : float
        Of the output a.
    saturated : float
        Fraction of values of z where the activation's slope is below 5 % of its largest.
    dead : float
        Fraction of units with no output and no gradient for any row (activations that can die).
    delta_norm : float
        Root of the sum over rows and units of (dL/dz)^2, L the mean loss.
    delta_ratio : float
        The same, over that of the layer nearest to the loss, in the median row.
    weight_norm, weight_gain : float
        Of the kernels: the norm, and root mean square times root of the fan-in. It is 1 to 1.4 for
        the usual initializers; y has about ``gain`` times the size of x.
    gradient_norm : float
        Of dL/dw over all weights of the layer.
    update_ratio : float
        Norm of the optimizer's next change over `weight_norm`.
    """

    layer: str
    class_name: str
    activation: str
    units: int
    activation_mean: float = math.nan
    activation_variance: float = math.nan
    saturated: float = math.nan
    dead: float = math.nan
    delta_norm: float = math.nan
    delta_ratio: float = math.nan
    weight_norm: float = math.nan
    weight_gain: float = math.nan
    gradient_norm: float = math.nan
    update_ratio: float = math.nan


_COLUMNS = (
    ("layer", "layer"),
    ("activation", "f"),
    ("activation_mean", "mean a"),
    ("activation_variance", "var a"),
    ("saturated", "satur."),
    ("dead", "dead"),
    ("delta_norm", "|delta|"),
    ("delta_ratio", "ratio"),
    ("weight_norm", "|w|"),
    ("weight_gain", "gain"),
    ("gradient_norm", "|dw|"),
    ("update_ratio", "step/|w|"),
)
_TEXTS = ("layer", "class_name", "activation", "units")  # fields that are no measurements
_SHARES = ("saturated", "dead")


class Diagnosis:
    """What `Model.diagnose` returns.

    Attributes
    ----------
    findings : list of Finding
        Critical ones first; among equals causes before what they cause.
    healthy : bool
        Whether there are none.
    layers : list of LayerReport
        In the order of the forward pass.
    inputs : dict of str to dict
        By input: ``mean``, ``std``, ``low``, ``high``: lists of a number a feature; ``constant``:
        the features that never change.
    targets : dict of str to dict
        By output: ``classes`` (share of each), or ``mean`` and ``std``.
    loss, guess_loss : float
        The loss of the sample, and that of the best constant prediction (nan: not known).
    rows : int
        Rows of the sample that were looked at; rows with NaN or Inf are left out.
    """

    def __init__(
        self,
        findings: list[Finding],
        layers: list[LayerReport],
        *,
        inputs: dict[str, dict[str, Any]] | None = None,
        targets: dict[str, dict[str, Any]] | None = None,
        loss: float = math.nan,
        guess_loss: float = math.nan,
        rows: int = 0,
    ) -> None:
        self.findings = sorted(
            findings, key=lambda f: (SEVERITIES.index(f.severity), KINDS.index(f.kind))
        )
        self.layers, self.inputs, self.targets = layers, inputs or {}, targets or {}
        self.loss, self.guess_loss, self.rows = loss, guess_loss, rows

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def summary(self) -> str:
        """The layers as a table, then the findings, as text."""
        guess = "" if math.isnan(self.guess_loss) else f", a constant guess {self.guess_loss:.4g}"
        lines = [f"{self.rows:,} rows, loss {self.loss:.4g}{guess}", *_table(self.layers), ""]
        if self.healthy:
            lines.append("healthy: no finding")
        lines += [f"{i}. {finding}" for i, finding in enumerate(self.findings, start=1)]
        return "\n".join(lines)

    __str__ = summary

    def __repr__(self) -> str:
        kinds = ", ".join(f.kind for f in self.findings) or "healthy"
        return f"<Diagnosis of {len(self.layers)} layers: {kinds}>"

    def _repr_html_(self) -> str:
        """For notebooks: the findings, then the layers as a table."""
        told = "".join(
            f"<li><b>{html.escape(f.kind.replace('_', ' '))}</b> ({html.escape(f.severity)}"
            f"{html.escape(f', at {f.layer}') if f.layer else ''}): {html.escape(f.message)} "
            f"<i>{html.escape(f.remedy)}</i></li>"
            for f in self.findings
        )
        head, *_ = self.summary().splitlines()
        titles = [title for _, title in _COLUMNS]
        rows = [
            [_cell(name, getattr(layer, name)) for name, _ in _COLUMNS] for layer in self.layers
        ]
        found = f"<ol>{told}</ol>" if told else "<p>healthy: no finding</p>"
        return f"<div><p>{html.escape(head)}</p>{found}{svg.table(titles, rows)}</div>"

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON data; nan and infinities as None."""
        result: dict[str, Any] = _Numbers()(
            {
                "findings": [dataclasses.asdict(f) for f in self.findings],
                "layers": [dataclasses.asdict(layer) for layer in self.layers],
                "inputs": self.inputs,
                "targets": self.targets,
                "loss": self.loss,
                "guess_loss": self.guess_loss,
                "rows": self.rows,
            }
        )
        return result

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Diagnosis:
        """What `to_dict` described."""

        def number(item: Any) -> float:
            return math.nan if item is None else float(item)

        layers = []
        for described in value["layers"]:
            texts: dict[str, Any] = {key: described[key] for key in _TEXTS}
            numbers: dict[str, Any] = {
                k: number(v) for k, v in described.items() if k not in _TEXTS
            }
            layers.append(LayerReport(**texts, **numbers))
        return cls(
            [Finding(**finding) for finding in value["findings"]],
            layers,
            inputs=value["inputs"],
            targets=value["targets"],
            loss=number(value["loss"]),
            guess_loss=number(value["guess_loss"]),
            rows=int(value["rows"]),
        )

    def to_pandas(self) -> Any:
        """The layers as a pandas DataFrame, the layer's name as index."""
        try:
            import pandas as pd  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise ImportError("to_pandas needs pandas; run pip install pandas") from error
        return pd.DataFrame([dataclasses.asdict(layer) for layer in self.layers]).set_index("layer")

    def plot(self, axes: Any = None) -> Any:
        """Draw the numbers through depth.

        Parameters
        ----------
        axes : list of four matplotlib Axes, optional
            Where to draw; by default in a new figure.

        Returns
        -------
        list of matplotlib Axes
            Four; ``report.plot()[0].figure.savefig("diagnosis.png")`` writes the figure.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        panels = (
            ("gradients through depth", ("delta_norm", "gradient_norm"), "log"),
            ("activations through depth", ("activation_mean", "activation_variance"), "symlog"),
            ("next step over weights", ("update_ratio", "weight_gain"), "log"),
            ("saturated and dead", ("saturated", "dead"), "linear"),
        )
        drawn_in = drawing.panels("Diagnosis.plot", [title for title, _, _ in panels], axes, 2)
        places = range(len(self.layers))
        for axis, (title, names, scale) in zip(drawn_in, panels, strict=True):
            for name in names:
                values = [getattr(layer, name) for layer in self.layers]
                drawn = [v if math.isfinite(v) and (v > 0 or scale != "log") else math.nan
                         for v in values]  # fmt: skip
                axis.plot(places, drawn, marker="o", label=name.replace("_", " "))
            if scale == "linear":
                axis.set_ylim(-0.05, 1.05)
            else:
                axis.set_yscale(scale)
            axis.set_title(title)
            axis.legend()
            axis.set_xticks(places, [layer.layer for layer in self.layers], rotation=60)
        kinds = ", ".join(f.kind.replace("_", " ") for f in self.findings)
        drawn_in[0].figure.suptitle(kinds or "healthy")
        return drawn_in


def _table(layers: list[LayerReport]) -> list[str]:
    rows = [[title for _, title in _COLUMNS]]
    rows += [[_cell(name, getattr(layer, name)) for name, _ in _COLUMNS] for layer in layers]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        cells += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return ""
    return f"{value:.0%}" if name in _SHARES else f"{value:.3g}"


class _Numbers(Plain):
    """Numbers that are not finite become None: JSON has none."""

    def number(self, value: float, where: str) -> Any:
        return value if math.isfinite(value) else None

"""How the report looks: a colour and a mark per trial state, safe for colour-blind readers, and the axes."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import plotly.graph_objects as go

from ell_tune.trials.records import TrialState

INK: Final = "#1b2430"  # also the leader's colour
MUTED: Final = "#5f6b7a"
RULE: Final = "#e3e7ec"
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# After Okabe and Ito, "Color universal design" (2008), and Tol's wine; the marks differ too.
STATE_COLOUR: Final = {
    TrialState.COMPLETE: "#0072b2",
    TrialState.RUNNING: "#009e73",
    TrialState.STOPPED: "#e69f00",
    TrialState.FAILED: "#882255",
    TrialState.LOST: "#999999",
}
STATE_MARK: Final = {
    TrialState.COMPLETE: "circle",
    TrialState.RUNNING: "diamond",
    TrialState.STOPPED: "circle-open",
    TrialState.FAILED: "x",
    TrialState.LOST: "x-open",
}
STATE_GLYPH: Final = {
    TrialState.COMPLETE: "●",
    TrialState.RUNNING: "◆",
    TrialState.STOPPED: "○",
    TrialState.FAILED: "✕",
    TrialState.LOST: "✖",
}

# Complete trials are drawn over the many stopped ones.
DRAWING_ORDER: Final = (
    TrialState.STOPPED, TrialState.LOST, TrialState.FAILED, TrialState.RUNNING, TrialState.COMPLETE
)  # fmt: skip


def blank_figure(height: int, x_title: str = "", y_title: str = "") -> go.Figure:
    """An empty figure in the report's style; its width follows the page."""
    axis = dict(
        gridcolor=RULE, linecolor=RULE, zeroline=False, ticks="outside", tickcolor=RULE, automargin=True,
        title_font=dict(size=12, color=MUTED), tickfont=dict(size=11, color=MUTED), title_standoff=8,
    )  # fmt: skip
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin=dict(l=56, r=16, t=28, b=44),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font=dict(family=FONT, size=12, color=INK),
        hoverlabel=dict(bgcolor="white", bordercolor=RULE, font=dict(family=FONT, size=12, color=INK), align="left"),
        hovermode="closest",
        showlegend=False,
        xaxis=axis | dict(title_text=x_title),
        yaxis=axis | dict(title_text=y_title),
    )
    return figure


def score_frame(scores: Sequence[float]) -> tuple[float, float]:
    """The range of a score axis, framed on the bulk of the scores.

    A few very bad scores would flatten the rest: what lies more than three times as far above the best as
    three quarters of the scores do is left outside.
    """
    low, high = min(scores), max(scores)
    ceiling = low + 3 * (float(np.quantile(scores, 0.75)) - low)
    if low < ceiling < high:
        high = ceiling
    pad = 0.12 * (high - low) or 0.01
    return low - pad, high + pad

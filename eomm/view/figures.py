"""The maps and charts of a page as Bokeh draws them, still empty: view.js fills their sources by their names.

Bokeh, for its script weighs 1.3 MB (Plotly's 4.8), it draws images pixel by pixel, links ranges, has a scale bar, and
lies in the wheel with its JavaScript. No text from data stands in a figure, since Bokeh takes some of it for TeX.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bokeh.document import Document
from bokeh.embed.util import standalone_docs_json_and_render_items
from bokeh.models import (
    ColumnDataSource,
    DatetimeTickFormatter,
    FixedTicker,
    HoverTool,
    Metric,
    Model,
    PanTool,
    Range1d,
    ScaleBar,
    Span,
    WheelZoomTool,
)
from bokeh.plotting import figure

from eomm.data.grid import Grid
from eomm.page.style import BLUE, GREEN, RED
from eomm.store.fields import Json

MAPS = ("colour", "embedding", "answer")
CHARTS = ("observed", "told", "component0", "component1", "component2")
PICKS = {  # how a pick looks everywhere, told apart without colour
    "A": {"color": BLUE, "marker": "circle", "dash": "solid"},
    "B": {"color": RED, "marker": "square", "dash": "dashed"},
    "polygon": {"color": GREEN, "marker": "triangle", "dash": "dotdash"},
}
DAY_MS = 86_400_000


def figures(grid: Grid, days: Sequence[int], charts: Sequence[str]) -> Json:
    """Bokeh's JSON of all figures; each belongs into the element whose id is its name.

    Args:
        grid: of the maps.
        days: first and last date, days since 1970-01-01.
        charts: which of CHARTS the page has.
    """
    west, south, east, north = grid.bounds
    ranges = {"x_range": Range1d(west, east, name="x"), "y_range": Range1d(south, north, name="y")}
    marks = {pick: ColumnDataSource({"x": [], "y": []}, name=f"{pick}-marks") for pick in PICKS}
    outline = ColumnDataSource({"xs": [], "ys": []}, name="polygon-outline")
    roots: list[Model] = [map_figure(name, grid, marks, outline, **ranges) for name in MAPS]
    margin = max(1.0, 0.03 * (days[-1] - days[0])) * DAY_MS
    times = Range1d(days[0] * DAY_MS - margin, days[-1] * DAY_MS + margin, name="times")
    now = Span(dimension="height", location=days[0] * DAY_MS, line_color="#59636e", line_dash="dotted", name="now")
    roots += [chart(name, times) for name in charts]
    for root in roots[len(MAPS) :]:
        root.add_layout(now.clone())
    document = Document()
    for root in roots:
        document.add_root(root)
    (json,), (item,) = (list(v) for v in _json(document))
    return {"document": json, "roots": {root.name: root.id for root in roots}, "item": item}


def _json(document: Document) -> tuple[Any, Any]:
    documents, items = standalone_docs_json_and_render_items(document)
    return documents.values(), [item.to_json() for item in items]


def map_figure(
    name: str, grid: Grid, marks: Mapping[str, ColumnDataSource], outline: ColumnDataSource, **ranges: Range1d
) -> Any:
    """A map without axes, so that its frame has the site's shape; ranges and what is chosen are those of all maps."""
    plot = figure(
        name=f"map-{name}",
        tools=[PanTool(), WheelZoomTool(modifiers={"ctrl": True})],
        toolbar_location=None,
        sizing_mode="scale_width",
        width=400,
        height=round(400 * grid.height / grid.width),
        min_border=0,
        outline_line_color=None,
        background_fill_color="#eef0f2",
        **ranges,
    )
    plot.axis.visible = False
    plot.grid.visible = False
    image = ColumnDataSource({n: [] for n in ("image", "x", "y", "dw", "dh")}, name=f"image-{name}")
    plot.image_rgba("image", "x", "y", "dw", "dh", source=image, origin="top_left", anchor="top_left")
    for colour, width in (("white", 5.0), (PICKS["polygon"]["color"], 2.5)):
        plot.multi_line("xs", "ys", source=outline, line_color=colour, line_width=width)
        for pick, look in PICKS.items():
            line = {"line_color": "white" if colour == "white" else look["color"], "line_width": width}
            plot.scatter("x", "y", source=marks[pick], marker=look["marker"], size=14, fill_color=None, **line)
    bar = ScaleBar(
        range=ranges["x_range"],
        unit="m",
        dimensional=Metric(base_unit="m", exclude=["dm", "dam", "hm"]),
        location="bottom_left",
        label_location="above",
        label_text_font_size="12px",
        background_fill_alpha=0.75,
        border_line_color=None,
        padding=5,
        margin=6,
        ticker=FixedTicker(ticks=[]),
    )
    plot.add_layout(bar)
    return plot


def chart(name: str, times: Range1d) -> Any:
    """Values through time, a line and a marker for each pick."""
    plot = figure(
        name=f"chart-{name}",
        x_axis_type="datetime",
        x_range=times,
        y_range=Range1d(0, 1, name=f"{name}-range"),
        tools=[PanTool(dimensions="width"), WheelZoomTool(dimensions="width", modifiers={"ctrl": True})],
        toolbar_location=None,
        sizing_mode="stretch_width",
        height=220 if name in ("observed", "told") else 170,
        outline_line_color=None,
        min_border_left=52,
    )
    plot.axis.major_label_text_font_size = "12px"
    plot.axis.axis_line_color = plot.axis.minor_tick_line_color = plot.grid.grid_line_color = "#d9dee3"
    plot.xaxis.formatter = DatetimeTickFormatter(days="%d %b", months="%b %Y", years="%Y")
    plot.xaxis.ticker.desired_num_ticks = 5
    plot.yaxis.ticker.desired_num_ticks = 4
    for pick, look in PICKS.items():
        source = ColumnDataSource({"x": [], "y": [], "date": []}, name=f"{name}-{pick}")
        plot.line("x", "y", source=source, color=look["color"], line_dash=look["dash"], line_width=1.6)
        points = plot.scatter("x", "y", source=source, color=look["color"], marker=look["marker"], size=6)
        tips = [("", f"{pick} @date: @y{{0.0000}}")]
        plot.add_tools(HoverTool(renderers=[points], tooltips=tips, mode="vline" if pick == "A" else "mouse"))
    return plot

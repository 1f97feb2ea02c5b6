"""What `eomm.cli.info.describe` found of a finished cube or embedding, in few lines for people; the JSON has it all."""

import re
from collections.abc import Mapping
from typing import Any

from eomm.store.fields import COUNT, Fields, ListOf, TableOf, fits

TOLD = ("resampling", "clouds", "checks", "pixels", "screen")  # attributes that have words of their own below
MASKED = ("no_data", "below_range", "above_range", "clouds")
SOURCE = Fields({"files?": list, "mapping?": dict})
GROUP = Fields({"attributes": Fields({"pixels?": TableOf(COUNT), "checks?": ListOf(of=str)})})
CUBE = Fields({"modalities": TableOf(GROUP), "provenance": Fields({"sources?": ListOf(of=SOURCE), "accepted?": list})})
EMBEDDING = Fields(
    {
        "arrays": Fields({"embedding": str}),
        "dates": ListOf(of=str, count=2),
        "valid_fraction": float,
        "provenance": Fields({"modalities": ListOf(of=str), "cube": dict, "dtype": str}),
        "quantisation?": Fields({"mean_cosine_error": float, "clipped_values": COUNT, "of_vectors": COUNT}),
    }
)
"""What a description has whose text is short; damaged ones and those of old stores are told as they are."""


def short_lines(info: Mapping[str, Any]) -> list[str] | None:
    """Of a finished cube or embedding, else None."""
    if not info.get("complete"):
        return None
    if info["kind"] == "cube" and fits(info, CUBE):
        return cube_lines(info)
    if info["kind"] == "embedding" and fits(info, EMBEDDING) and len(sizes(info["arrays"]["embedding"])) == 4:
        return embedding_lines(info)
    return None


def sizes(array: str) -> list[str]:
    """Of the axes of an array, from its description: "int8 [74 time, 48 y, 48 x, 64 feature]"."""
    return re.findall(r"\d+", array.partition("[")[2])


def cube_lines(info: Mapping[str, Any]) -> list[str]:
    """Site, modalities, and what was made of what."""
    lines = [f"site {info['site']}"]
    for name, group in info["modalities"].items():
        lines += [f"{name}: {series(group)}", *(f"  {line}" for line in details(group))]
    provenance = info["provenance"]
    for source in provenance.get("sources", []):
        passed = ", ".join(f"{what} {count}" for what, count in source.get("passed_over", {}).items())
        over = f"; passed over: {passed}" if passed else ""
        lines.append(f"from {len(source.get('files', []))} files by {source.get('mapping', {}).get('name')}{over}")
    if accepted := provenance.get("accepted"):
        lines.append(f"OVERRULED by --accept: {', '.join(map(str, accepted))}")
    return lines


def series(group: Mapping[str, Any]) -> str:
    """How much there is."""
    span = " to ".join(group["dates"]) or "static"
    seen = f"{group['valid_fraction']:.0%} of their pixels clear"
    return f"{group['usable']} of {group['acquisitions']} acquisitions usable, {span}, {seen}"


def details(group: Mapping[str, Any]) -> list[str]:
    """Where and what it is, when it is clear, what was masked, what was checked."""
    contract, grid, attributes = group["contract"], group["grid"], group["attributes"]
    size = group["shape"].split(" time, ")[1].split(" x,")[0].replace(" y,", " x") + " px"
    about = [contract["bands"], contract["unit"], contract["level"], contract["calibration"]]
    lines = [f"{size} of {grid['gsd_m']:g} m, {grid['crs']}, {', '.join([*group['platforms'], *group['orbits']])}"]
    lines += [f"{', '.join(about)}; contract {contract['hash']}", *months(group["months"])]
    pixels = attributes.get("pixels", {})
    if total := sum(pixels.values()):
        shares = [f"{name.replace('_', ' ')} {pixels[name] / total:.1%}" for name in MASKED if pixels.get(name)]
        lines += [f"masked: {', '.join(shares) or 'nothing'}"]
    lines += [f"checked: {check}" for check in attributes.get("checks", [])]
    if screen := attributes.get("screen"):
        lines.append(f"screen: {screen}")
    rest = {k: v for k, v in attributes.items() if k not in TOLD}
    return [*lines, *(f"{key}: {value}" for key, value in rest.items() if isinstance(value, str | int | float))]


def months(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each year: per cent that is clear, from January to December."""
    lines = []
    for year in dict.fromkeys(month[:4] for month in found):
        of = [found.get(f"{year}-{number:02}") for number in range(1, 13)]
        shares = " ".join("  -" if month is None else f"{100 * month['valid_fraction']:3.0f}" for month in of)
        lines.append(f"% clear by month of {year}: {shares}")
    return lines


def embedding_lines(info: Mapping[str, Any]) -> list[str]:
    """Of what, by which model, how many vectors of which kind, and what stands beside them."""
    about, (first, last) = info["provenance"], info["dates"]
    count, height, width, length = sizes(info["arrays"]["embedding"])
    beside = [name for name, array in info["arrays"].items() if len(sizes(array)) == 3]
    vectors = f"{length} numbers, {about['dtype']}"
    if found := info.get("quantisation"):
        clipped, of = found["clipped_values"], found["of_vectors"]
        vectors += (
            f" (mean error of the cosine {found['mean_cosine_error']:.2g}; {clipped} values of {of} vectors clipped)"
        )
    lines = [
        f"site {info['site']}: {count} dates from {first} to {last}, {height} x {width} px",
        f"vectors where {info['valid_fraction']:.0%} of pixels and dates are clear, of {vectors}",
        f"by model {info.get('model')}, from {' and '.join(about['modalities'])} of {about['cube'].get('name')}",
        f"beside them: {', '.join(sorted(beside))}",
    ]
    if not about.get("clear_only", True):
        lines.append("clouded pixels have vectors too, from what stands around them")
    if days := about.get("average_days"):
        lines.append(f"each is a mean over the clear dates at most {days} days away")
    if seam := info.get("seam"):
        lines.append(f"seam: {seam}")
    return lines

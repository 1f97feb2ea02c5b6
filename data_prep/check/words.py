"""A check in words: what the command prints, and sentences for the page."""

from eomm.store.fields import Json


def format_check(summary: Json) -> str:
    """For people: a table per modality, then what was found."""
    lines = [f"{summary['cube']}: site {summary['site']}, {summary['crs']}"]
    for name, m in summary["modalities"].items():
        lines += ["", *_modality_lines(name, m)]
    for a in summary["alignment"]:
        lines += ["", f"alignment of {alignment_words(a)}"]
    lines += ["", f"findings: {len(summary['findings'])}"] + [f"  {f}" for f in summary["findings"]]
    return "\n".join(lines)


def _modality_lines(name: str, m: Json) -> list[str]:
    lines = [
        f"{name} ({m['level']}, {m['calibration']}): {m['usable']} of {m['acquisitions']} acquisitions usable, "
        f"{span_words(m)}",
        f"  {'band':22}{'1 %':>10}{'median':>10}{'99 %':>10}  expected median",
    ]
    for b in m["bands"]:
        q, span = b["quantiles"], b["expected_median"]
        numbers = f"{q['q01']:10.4g}{q['median']:10.4g}{q['q99']:10.4g}" if q else f"{'-':>10}{'-':>10}{'-':>10}"
        wanted = f"{span[0]:g} to {span[1]:g}" if span else "-"
        lines.append(f"  {b['band']:22}{numbers}  {wanted}{'   <-- ' + b['finding'] if b['finding'] else ''}")
    if m["pixels"]:
        lines.append(f"  pixel-dates: {pixel_words(m['pixels'])}")
    lines += [f"  when made: {check}" for check in m["checks"]]
    if m["suspicious"]:
        lines.append(f"  dates to look at ({len(m['suspicious'])}):")
        lines += [f"    {s['date']}: {'; '.join(s['reasons'])}" for s in m["suspicious"]]
    return lines


def span_words(m: Json) -> str:
    """The first and last date of a modality and the longest gap between them; of a static layer that it is one."""
    return f"{m['first']} to {m['last']}, longest gap {m['longest_gap_days']} days" if "first" in m else "static"


def pixel_words(pixels: dict[str, int]) -> str:
    """Why pixel-dates are invalid, as shares."""
    total = max(sum(pixels.values()), 1)
    return ", ".join(f"{reason.replace('_', ' ')} {count / total:.1%}" for reason, count in pixels.items())


def alignment_words(a: Json) -> str:
    """A sentence on how well two sensors lie on each other."""
    agreeing = f"{a['agreeing']:.0%} of them within a pixel of their median"
    if not a["determined"]:
        return (
            f"{a['between']}: not determined; {a['pairs']} pairs of images give shifts that scatter by "
            f"{a['spread_metres']:.0f} m, {agreeing}"
        )
    return (
        f"{a['between']}: shift {a['rows_px']:+.1f} rows, {a['cols_px']:+.1f} columns ({a['metres']:.0f} m), spread "
        f"{a['spread_metres']:.0f} m over {a['pairs']} pairs of images, {agreeing}"
    )

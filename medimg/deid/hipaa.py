"""The 18 identifiers of the HIPAA Safe Harbor, and what was done about each."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from medimg.deid.options import DeidOptions

GONE = "removed or emptied, nested sequences included"


def hipaa_table(
    options: DeidOptions, counts: Mapping[str, int], *, text_in_pixels: bool = False
) -> pd.DataFrame:
    """Return a row for each identifier of 45 CFR 164.514(b)(2)(i).

    Parameters
    ----------
    options : DeidOptions
        What was retained.
    counts : mapping
        Distinct values of the input, by kind, that were searched for in the output.
    text_in_pixels : bool
        Whether the pixels of some output may show text, which can be any identifier.

    Returns
    -------
    DataFrame
        Columns ``number, identifier, in_dicom, done, values_in_input, settled``; ``settled`` is
        "yes", "in the header" (a person must still read the pixels), "no" or "a person decides".

    References
    ----------
    .. [1] 45 CFR 164.514(b)(2)(i)(A) to (R).

    Examples
    --------
    >>> table = hipaa_table(DeidOptions(), {"patient name": 3})
    >>> len(table), int(table.values_in_input[0]), table.settled[0]
    (18, 3, 'yes')
    >>> hipaa_table(DeidOptions(), {}, text_in_pixels=True).settled[0]
    'in the header'
    """
    dates = (
        "shifted by one secret offset a patient: still dates, so no Safe Harbor; needs an expert"
        if options.retain_dates
        else "removed, emptied or replaced by a dummy"
    )
    ages = "ages kept, 90+ as 090Y" if options.retain_characteristics else "ages removed"
    device = "kept by option" if options.retain_device else GONE
    person, gone = "a person decides", "in the header" if text_in_pixels else "yes"
    shifted = "no" if options.retain_dates else gone
    rows = [
        ("Names", "PN values; names in other elements", "pseudonym for the patient; others " + GONE,
         ("patient name", "other person's name"), gone),
        ("Places smaller than a state", "addresses, institution, department, residence",
         GONE, ("address or telephone", "institution"), gone),
        ("Dates but the year; ages over 89", "DA, DT, TM, Patient's Age", f"{dates}; {ages}",
         ("date", "time"), shifted),
        ("Telephone numbers", "telephone and telecom elements", GONE,
         ("address or telephone",), gone),
        ("Fax numbers", "telecom elements", GONE, ("address or telephone",), gone),
        ("E-mail addresses", "telecom elements, free text", GONE,
         ("address or telephone",), gone),
        ("Social security numbers", "patient and other IDs", GONE, ("number or ID",), gone),
        ("Medical record numbers", "Patient ID, Other Patient IDs",
         "Patient ID replaced by the pseudonym; others " + GONE, ("number or ID",), gone),
        ("Health plan numbers", "insurance elements", GONE, ("number or ID",), gone),
        ("Account numbers", "accession, admission and order numbers", GONE,
         ("accession or order number",), gone),
        ("Certificate and licence numbers", "identification sequences of persons", GONE,
         ("number or ID",), gone),
        ("Vehicle identifiers", "none of its own; free text, private elements", GONE,
         ("private text",), gone),
        ("Device identifiers and serial numbers", "serial numbers, station, detector, AE titles",
         device, ("device",), "no" if options.retain_device else gone),
        ("Web addresses", "UR values", GONE, ("web address",), gone),
        ("IP addresses", "network and AE elements, free text", GONE, ("device",), gone),
        ("Biometric identifiers", "voice and finger prints: encapsulated objects, waveforms",
         "such objects are refused", (), "yes"),
        ("Full-face photographs and the like", "photographs; head CT and MR, whose surface is a "
         "face", "not changed; flagged below", (), person),
        ("Any other unique number or code", "UIDs, private elements, descriptions, burned-in text",
         "UIDs replaced by keyed hashes, private elements and descriptions removed; text in pixels "
         "flagged below", ("UID", "private text", "description", "code"), person),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["identifier", "in_dicom", "done", "kinds", "settled"])
    table.insert(0, "number", range(1, len(rows) + 1))
    total = table["kinds"].map(lambda kinds: sum(counts.get(kind, 0) for kind in kinds))
    table.insert(4, "values_in_input", total)
    return table.drop(columns="kinds")

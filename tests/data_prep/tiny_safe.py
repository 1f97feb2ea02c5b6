"""Tiny Sentinel-2 products in ESA's SAFE format: names, folders, XML and JPEG 2000 as in the real ones. Not tests."""

import zipfile
from datetime import datetime, timedelta

import numpy as np
import rasterio

from tests.data_prep.tiny_scenes import NAMES, NORTH, SIZE, TEN, WEST, reflectance

IDS = {"B02": 1, "B03": 2, "B04": 3, "B05": 4, "B06": 5, "B07": 6, "B08": 7, "B8A": 8, "B11": 11, "B12": 12}
PRODUCT = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{time}.024Z</PRODUCT_START_TIME>
      <PRODUCT_URI>{name}.SAFE</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
      <PRODUCT_TYPE>{kind}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <Datatake datatakeIdentifier="GS2A">
        <SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>
        <SENSING_ORBIT_NUMBER>51</SENSING_ORBIT_NUMBER>
        <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
      </Datatake>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <QUANTIFICATION_VALUES_LIST>
        <BOA_QUANTIFICATION_VALUE unit="none">{quantification}</BOA_QUANTIFICATION_VALUE>
        <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>
      {offsets}
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-2A_User_Product>
"""
TILE = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
  <n1:General_Info><SENSING_TIME metadataLevel="Standard">{time}.310Z</SENSING_TIME></n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Angles>
      <Mean_Sun_Angle>
        <ZENITH_ANGLE unit="deg">46.25</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">161.5</AZIMUTH_ANGLE>
      </Mean_Sun_Angle>
      <Mean_Viewing_Incidence_Angle_List>
        <Mean_Viewing_Incidence_Angle bandId="1">
          <ZENITH_ANGLE unit="deg">7.5</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">350</AZIMUTH_ANGLE>
        </Mean_Viewing_Incidence_Angle>
        <Mean_Viewing_Incidence_Angle bandId="2">
          <ZENITH_ANGLE unit="deg">7.7</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">10</AZIMUTH_ANGLE>
        </Mean_Viewing_Incidence_Angle>
      </Mean_Viewing_Incidence_Angle_List>
    </Tile_Angles>
  </n1:Geometric_Info>
</n1:Level-2A_Tile_ID>
"""


def write_jp2(path, values, *, gsd, west, north):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype,
        crs="EPSG:32631", transform=rasterio.Affine(gsd, 0, west, 0, -gsd, north), QUALITY=100, REVERSIBLE="YES",
    ) as file:  # fmt: skip
        file.write(values, 1)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)


def numbers(band, seed, size, offset_dn):
    return np.rint(reflectance(band, seed, size) * 1e4 + offset_dn).astype(np.uint16)


def write_safe(
    folder, when, *, tile="31UDS", baseline="02.13", west=WEST, north=NORTH, size=SIZE, seed=0, offset_dn=None,
    kind="S2MSI2A", quantification=10000, zipped=False, edit=None, xml=lambda text: text, plus_s=0,
):  # fmt: skip
    """One product; gives its path. `edit(band, numbers)` may change a band's numbers, `xml` the product's metadata."""
    high = float(baseline) >= 4
    offset_dn = (1000 if high else 0) if offset_dn is None else offset_dn
    digits = baseline.replace(".", "")
    name = f"S2A_MSIL2A_{when:%Y%m%dT%H%M%S}_N{digits}_R051_T{tile}_{when + timedelta(hours=3):%Y%m%dT%H%M%S}"
    root = folder / f"{name}.SAFE"
    granule = root / "GRANULE" / f"L2A_T{tile}_A023722_{when:%Y%m%dT%H%M%S}"
    for band in NAMES:
        gsd = 10 if band in TEN else 20
        values = numbers(band, seed + NAMES.index(band), size * 10 // gsd, offset_dn)
        values = values if edit is None else edit(band, values).astype(np.uint16)
        path = granule / "IMG_DATA" / f"R{gsd}m" / f"T{tile}_{when:%Y%m%dT%H%M%S}_{band}_{gsd}m.jp2"
        write_jp2(path, values, gsd=gsd, west=west, north=north)
    scl = np.full((size // 2, size // 2), 4, np.uint8)
    write_jp2(granule / f"IMG_DATA/R20m/T{tile}_x_SCL_20m.jp2", scl, gsd=20, west=west, north=north)
    each = "".join(f'<BOA_ADD_OFFSET band_id="{i}">-1000</BOA_ADD_OFFSET>' for i in range(13))
    text = PRODUCT.format(
        time=when.isoformat(), name=name, kind=kind, baseline=baseline, quantification=quantification,
        offsets=f"<BOA_ADD_OFFSET_VALUES_LIST>{each}</BOA_ADD_OFFSET_VALUES_LIST>" if high else "",
    )  # fmt: skip
    (root / "MTD_MSIL2A.xml").write_text(xml(text))
    sensed = when + timedelta(seconds=plus_s)
    (granule / "MTD_TL.xml").write_text(TILE.format(time=sensed.isoformat()))
    (root / "manifest.safe").write_text("<x/>")
    if not zipped:
        return root
    archive = folder / f"{name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
        for path in sorted(root.rglob("*")):
            z.write(path, path.relative_to(folder))
    for path in sorted(root.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    root.rmdir()
    return archive


START = datetime(2020, 4, 1, 10, 54, 21)

"""An explanation as DICOM, for viewers and archives: a colour capture, a parametric map of R, a structured report.

All three belong to the source's study and reference its files. Patient and study attributes are taken from the source
into these objects, as they must be, and nowhere else. The same explanation gives the same UIDs, so that an archive
that has it already does not hold it twice.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from cycle_am.errors import UserError
from cycle_am.files import write_atomically

try:
    import highdicom as hd
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes
except ImportError as error:
    raise UserError("DICOM output needs highdicom; install it: pip install 'cycle-am[dicom]'") from error

if TYPE_CHECKING:
    from cycle_am.model.explanation import Explanation

CAPTURE, MAP, REPORT = "capture.dcm", "relevance.dcm", "report.dcm"
SERIES = {CAPTURE: 9001, MAP: 9002, REPORT: 9003}  # numbers far behind those of scanners
SCHEME = "99CYCLEAM"  # codes of this project's own
LONGEST = 64  # characters of a DICOM LO and of a code's meaning
ZOOM = 8  # pixels of the capture per pixel of the window
BANNER = 56  # rows above the images, with the verdict and the figures in words
NEEDED = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"]
EMPTY = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"]
EMPTY += ["AccessionNumber", "ReferringPhysicianName"]  # those that the standard lets be unknown
REFERENCE = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
REFERENCE += ["PatientID", "Rows", "Columns", "NumberOfFrames", "AccessionNumber"]
WRONG = (pydicom.errors.InvalidDicomError, AttributeError, KeyError, ValueError, TypeError)


def write(folder: str | Path, explanation: Explanation, files: Sequence[str | Path]) -> list[Path]:
    """Write `capture.dcm`, `relevance.dcm` and `report.dcm`, each whole or not at all; returns their paths.

    explanation: of one lesion, whose place says where its window lies. files: the source's, that of the lesion's slice
    first, then those of its series (the first may come again). Raises UserError, one line, where the explanation is of
    several lesions or has no place, or the source lacks what DICOM needs.
    """
    lesion = _Lesion(explanation, list(map(Path, files)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's and highdicom's may show what a header says of a person
        parts = ((CAPTURE, _capture), (MAP, _map), (REPORT, _report))
        return [_written(Path(folder) / name, build, lesion) for name, build in parts]


def _written(path: Path, build: Callable[[_Lesion], Dataset], lesion: _Lesion) -> Path:
    try:
        dataset = build(lesion)
        return write_atomically(path, partial(dataset.save_as, enforce_file_format=True))
    except WRONG as error:
        raise UserError(
            f"the source does not bear {path.name} ({_line(error)}); leave DICOM output out for it"
        ) from error


class _Lesion:
    """One explanation with its source's headers."""

    def __init__(self, explanation: Explanation, files: Sequence[Path]) -> None:
        if len(explanation) != 1 or not files:
            raise UserError(f"DICOM output is of one lesion with its files; these are {len(explanation)}")
        place = explanation.place[0] if explanation.place else None
        if place is None or None in (place.centre_mm, place.row_mm, place.column_mm):
            raise UserError(
                "the explanation does not say where its window lies; explain a placed DICOM image"
            )
        self.explanation, self.place, self.model = explanation, place, explanation.model
        self.source, self.others = _header(files[0]), [path for path in files[1:] if path != files[0]]

    @cached_property
    def corner(self) -> np.ndarray:
        """(3,) mm of the middle of the window's first pixel."""
        half = (np.array(self.explanation.x.shape[1:]) - 1) / 2
        return np.array(self.place.centre_mm) - half @ np.array([self.place.row_mm, self.place.column_mm])

    @cached_property
    def steps(self) -> tuple[float, float]:
        """mm per row and column."""
        return tuple(float(np.linalg.norm(step)) for step in (self.place.row_mm, self.place.column_mm))

    @cached_property
    def axes(self) -> np.ndarray:
        """(2, 3) unit vectors along which columns and rows count up: DICOM's order."""
        pair = np.array([self.place.column_mm, self.place.row_mm])
        return pair / np.linalg.norm(pair, axis=1, keepdims=True)

    @cached_property
    def thickness(self) -> float | None:
        """mm of the source's slices; None where it does not say."""
        shared = self.source.get("SharedFunctionalGroupsSequence", [Dataset()])[0]
        measures = shared.get("PixelMeasuresSequence", [self.source])[0]
        said = measures.get("SliceThickness")
        return float(said) if said else None

    @cached_property
    def frames(self) -> list[int] | None:
        """Which frame of a multi-frame source the window lies in, counted from 1; None of single images."""
        groups = self.source.get("PerFrameFunctionalGroupsSequence")
        if not groups:
            return None
        positions = np.array([g.PlanePositionSequence[0].ImagePositionPatient for g in groups], float)
        heights = (positions - self.place.centre_mm) @ np.cross(*self.axes)
        return [int(np.abs(heights).argmin()) + 1]

    @cached_property
    def series(self) -> list[Dataset]:
        """The source's slice and what the others of its series are referenced by."""
        read = partial(pydicom.dcmread, stop_before_pixels=True, specific_tags=REFERENCE)
        others = [
            header for header in map(read, self.others) if header.SOPInstanceUID != self.source.SOPInstanceUID
        ]
        return [
            self.source,
            *(header for header in others if header.SeriesInstanceUID == self.source.SeriesInstanceUID),
        ]

    def uid(self, *kind: str) -> str:
        """Of one of the objects: a function of the source, the model and what it says."""
        said = [
            str(self.explanation.trust),
            str(self.place.centre_mm),
            self.model.digest,
            self.source.SOPInstanceUID,
        ]
        pixels = hashlib.sha256(
            self.explanation.x_neg.tobytes() + self.explanation.x_pos.tobytes()
        ).hexdigest()
        return generate_uid(entropy_srcs=[*said, pixels, *kind])

    def common(self, name: str) -> dict[str, Any]:
        """What every object is given."""
        return {
            "series_instance_uid": self.uid(name, "series"),
            "series_number": SERIES[name],
            "sop_instance_uid": self.uid(name),
            "instance_number": 1,
            "manufacturer": "CycleAM",
        }


def _header(path: Path) -> Dataset:
    """Of the lesion's slice; what may be unknown is so where it is absent or, which is told, wrong."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (*WRONG, OSError) as error:
        raise UserError(
            f"the lesion's slice cannot be read as DICOM ({_line(error)}); mend it, or leave DICOM output out"
        ) from error
    missing = [tag for tag in NEEDED if not header.get(tag)]
    if missing:
        raise UserError(f"the lesion's slice has no {', '.join(missing)}; DICOM output cannot refer to it")
    wrong = [tag for tag in EMPTY if not _conforms(header, tag)]
    if wrong:
        warnings.warn(
            f"DICOM output leaves {', '.join(wrong)} empty: the source's is not valid", stacklevel=5
        )
    for tag in EMPTY:
        if tag not in header or tag in wrong:
            setattr(header, tag, "")
    return header


def _conforms(header: Dataset, tag: str) -> bool:
    """Whether highdicom can take what a header says, if anything; names and ids it takes as they are."""
    try:
        value = str(header.get(tag) or "").strip()
        if tag == "PatientSex":
            return value in ("", "M", "F", "O")
        kinds = {"Date": pydicom.valuerep.DA, "Time": pydicom.valuerep.TM}
        return all(kind(value) is not None for end, kind in kinds.items() if value and tag.endswith(end))
    except ValueError:
        return False


def _capture(lesion: _Lesion) -> Dataset:
    """The window beside itself with R laid over it, verdict and probabilities above."""
    capture = hd.sc.SCImage.from_ref_dataset(
        lesion.source,
        _picture(lesion.explanation),
        "RGB",
        8,
        "PATIENT",
        **lesion.common(CAPTURE),
        patient_orientation=tuple(map(_direction, lesion.axes)),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    capture.SeriesDescription, capture.BurnedInAnnotation = "CycleAM: window with R", "NO"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.DerivationDescription = f"R = G+(x) - G-(x) over x, by {lesion.model.name}"
    capture.SourceImageSequence = [_reference(lesion)]
    return capture


def _picture(explanation: Explanation) -> np.ndarray:
    """(rows, columns, 3) uint8."""
    from cycle_am.reports.draw import overlay

    images = [
        np.repeat(explanation.x[0][..., None], 3, -1),
        overlay(explanation.x[0], explanation.relevance[0]),
    ]
    large = [np.kron(image, np.ones((ZOOM, ZOOM, 1))) for image in images]
    body = (np.concatenate(large, axis=1) * 255).round().astype(np.uint8)
    return np.concatenate([_banner(explanation, body.shape[1]), body])


def _banner(explanation: Explanation, width: int) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, BANNER))
    p = explanation.explained
    verdict = str(explanation.trust[0]) if explanation.trust else "not assessed"
    figures = (
        f"p({explanation.model.task.classes[1]}): x {p.x[0]:.2f}, G-(x) {p.neg[0]:.2f}, G+(x) {p.pos[0]:.2f}"
    )
    text = f"Trust: {verdict}\n{figures}   red: brighter speaks for it, blue: darker.   Research only."
    ImageDraw.Draw(image).multiline_text((8, 6), text, font=ImageFont.load_default(17), spacing=6)
    return np.asarray(image)


def _direction(axis: np.ndarray) -> str:
    """The letter of the patient's side that a unit vector (3,) points to."""
    k = int(np.abs(axis).argmax())
    return ("RL", "AP", "FH")[k][int(axis[k] > 0)]


def _reference(lesion: _Lesion) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = lesion.source.SOPClassUID
    item.ReferencedSOPInstanceUID = lesion.source.SOPInstanceUID
    if lesion.frames:
        item.ReferencedFrameNumber = lesion.frames
    item.PurposeOfReferenceCodeSequence = [
        CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
    ]
    return item


def _map(lesion: _Lesion) -> Dataset:
    """R, float32, on the window's own pixels in the source's frame of reference."""
    unsaid = lesion.thickness is None
    if unsaid:  # highdicom cannot do without, so it is given one that is taken out again
        lesion.source.SliceThickness = 1.0
    parametric = hd.pm.ParametricMap(
        [lesion.source],
        lesion.explanation.relevance.astype(np.float32),
        **lesion.common(MAP),
        manufacturer_model_name=lesion.model.name[:LONGEST],
        software_versions=lesion.model.digest or "unpacked",
        device_serial_number="0",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping()],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.0, window_width=0.6)],
        content_label="RELEVANCE",
        content_description="R = G+(x) - G-(x), signed brightness",
        pixel_measures=hd.PixelMeasuresSequence(lesion.steps, lesion.thickness or 1.0),
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", lesion.axes.ravel().tolist()),
        plane_positions=[hd.PlanePositionSequence("PATIENT", lesion.corner.tolist())],
    )
    parametric.SeriesDescription = "CycleAM: R"
    if unsaid:
        del parametric.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness
    return parametric


def _mapping() -> Any:
    return hd.pm.RealWorldValueMapping(
        lut_label="R",
        lut_explanation="change of brightness, share of the intensity window",
        unit=codes.UCUM.NoUnits,
        value_range=(-1.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=_code("R", "Relevance: change of brightness"),
    )


def _report(lesion: _Lesion) -> Dataset:
    """TID 1500: the figures, the verdict and where the window lies."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=lesion.uid("device"), name="CycleAM", model_name=lesion.model.name[:LONGEST]
    )
    observer = hd.sr.ObserverContext(codes.DCM.Device, device)
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_code("EXPLANATION", "Explanation of an image classifier"),
        imaging_measurements=[_group(lesion)],
    )
    document = hd.sr.Comprehensive3DSR(
        evidence=lesion.series, content=content[0], **lesion.common(REPORT), is_complete=True
    )
    document.SeriesDescription = "CycleAM: figures"
    return document


def _group(lesion: _Lesion) -> Any:
    trust = lesion.explanation.trust[0] if lesion.explanation.trust else None
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=lesion.uid("lesion"), identifier=lesion.place.name or "lesion"
        ),
        finding_type=codes.SCT.Lesion,
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=lesion.model.name, version=lesion.model.digest or "unpacked"
        ),
        measurements=list(_measurements(lesion, trust)),
        qualitative_evaluations=list(_words(trust)),
        source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(lesion.source, lesion.frames)],
    )


def _words(trust: Any) -> Iterable[Any]:
    said = [("Trust", trust.verdict), *(("Reason", text) for text in trust.reasons)] if trust else []
    for name, text in said:
        yield hd.sr.QualitativeEvaluation(_code(name.upper(), name), _code(_key(text), text))


def _measurements(lesion: _Lesion, trust: Any) -> Iterable[Any]:
    explanation, second = lesion.explanation, lesion.model.task.classes[1]
    for by, p in (("explained classifier", explanation.explained), ("judge", explanation.judge)):
        for image, values in zip(("x", "G-(x)", "G+(x)"), p, strict=True):
            yield _measurement(lesion, f"p({second}) of {image}, {by}", values[0])
    distance = explanation.distance()[0]
    if np.isfinite(distance):
        yield _measurement(lesion, "Distance to the decision", distance)
    for name, value in (trust.figures if trust else {}).items():
        if np.isfinite(value):
            yield _measurement(lesion, f"Trust: {name}", value)


def _measurement(lesion: _Lesion, name: str, value: float) -> Any:
    """A figure without unit, taken at the lesion's place."""
    point = hd.sr.CoordinatesForMeasurement3D(
        "POINT", np.array([lesion.place.centre_mm], float), lesion.source.FrameOfReferenceUID
    )
    return hd.sr.Measurement(
        _code(_key(name), name), float(value), codes.UCUM.NoUnits, referenced_coordinates=[point]
    )


def _key(text: str) -> str:
    """A code value (at most 16 characters) that only this text has."""
    return hashlib.sha256(text.encode()).hexdigest()[:16].upper()


def _code(value: str, meaning: str) -> Any:
    return CodedConcept(value[:16], SCHEME, meaning[:LONGEST])


def _line(error: Exception) -> str:
    """What an error says, where that names tags alone; others may show what a header says of a person."""
    names_tags = isinstance(error, AttributeError | KeyError)
    return " ".join(str(error).split())[:120] if names_tags else type(error).__name__

"""The page needs no other file, shows the images and takes no markup from the data."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from centernet2.data.doctor import check_dataset
from centernet2.data.doctor.page import write_page


class Tags(HTMLParser):
    """Collects names of tags, and sources of images."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.sources += [value or "" for key, value in attrs if key == "src"]


def test_page(shared_data: Path, tmp_path: Path) -> None:
    data = json.loads((shared_data / "bccd" / "val.json").read_text())
    data["annotations"][3]["bbox"] = [10, 20, -30, 40]
    data["annotations"][4]["bbox"] = [600, 20, 300, 40]
    data["annotations"][5]["bbox"] = "<script>alert(1)</script>"
    data["images"][7]["file_name"] = '"><script>alert(2)</script>'
    data["categories"][0]["name"] = "<b>\ud800"
    source = tmp_path / "<i>.json"
    source.write_text(json.dumps(data))
    images = shared_data / "bccd" / "images"
    report = check_dataset(source, images)
    write_page(report, tmp_path / "deep" / "page.html", {str(source): images})
    text = (tmp_path / "deep" / "page.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert not tags.names & {"script", "i", "b", "link"}
    assert len(tags.sources) == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in tags.sources)
    for kind in report.counts():
        assert f'id="{kind}"' in text


def test_both_images_of_a_leak_are_shown(shared_data: Path, tmp_path: Path) -> None:
    data = json.loads((shared_data / "bccd" / "val.json").read_text())
    data["images"] = data["images"][:2]
    ids = [image["id"] for image in data["images"]]
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in ids]
    files = [tmp_path / f"{split}.json" for split in ("train", "val")]
    for file in files:
        file.write_text(json.dumps(data))
    images = shared_data / "bccd" / "images"
    report = check_dataset(files[0], images, files[1], images)
    assert report.counts()["leak-same-file"] == 2
    write_page(report, tmp_path / "page.html", {str(file): images for file in files})
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    for image in data["images"]:
        assert f"<figcaption>{image['file_name']} of {files[0]}</figcaption>" in text
        assert f"<figcaption>{image['file_name']}: is {image['file_name']} of {files[0]}<" in text

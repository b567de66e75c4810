import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs
from synthetic_study import search, study, trial

from analysis.report import render, write_report
from ell_tune.errors import UserError
from ell_tune.trials.records import StudyRecord, TrialState

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}"


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def num(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def test_headline() -> None:
    base = {"lr": 2e-5, "loss": {"name": "mse"}}
    record = study(
        trial(0, 0.46, config=base, seconds=3600),
        trial(1, 0.4512, config=base | {"lr": 1e-5}, seconds=3600),
        trial(2, 0.47, config=base, state=TrialState.STOPPED, steps=4, seconds=1200),
        trial(3, None, config=base, state=TrialState.FAILED, seconds=60),
    )
    text = Page(render(record)).text
    assert "Best score 0.4512 trial 1, complete after 8 of 8 evaluations" in text
    assert "Against the base config (trial 0) −0.0088 base 0.4600, complete after 8 evaluations" in text
    assert "Trials 4 ● 2 complete ○ 1 stopped ✕ 1 failed" in text
    assert "Training time 2 h 21 min" in text
    assert "field base (trial 0) best (trial 1) lr 2e-05 1e-05 Progress" in text


def test_the_caveat_gives_the_flattery_of_the_best_of_n_and_where_its_sd_is_from() -> None:
    text = Page(render(study(*(trial(n, 0.46 + n / 1000) for n in range(10))))).text
    assert "It is the best of 10 scores." in text
    assert "expected 0.0012 below their true score by luck alone" in text
    assert "an SD of 0.0008 per config, a figure from the FB3 field" in text


def test_a_leading_base_config_is_said_to_be_one() -> None:
    text = Page(render(study(trial(0, 0.45, config={"lr": 1}), trial(1, 0.46, config={"lr": 2})))).text
    assert "the best trial is the base config" in text
    assert "The best config is the base config: no search has improved on it yet." in text


def test_a_base_config_without_a_score() -> None:
    text = Page(render(study(trial(0, None, state=TrialState.FAILED), trial(1, 0.46)))).text
    assert "the base config has no score" in text


def test_a_study_that_searches_nothing() -> None:
    text = Page(render(study(trial(0), searched=()))).text
    assert text.count("This study searches no field.") == 2


def test_too_few_trials_for_importance_are_said_to_be_too_few() -> None:
    text = Page(render(search(3))).text
    assert "Not shown. At least 8 trials must have reached step 6;" in text


def test_provenance_is_flattened() -> None:
    assert "data.sha256 9f2c data.rows 3911 seed 7 versions.ray 2.60.0" in Page(render(search(1))).text


def hostile_study() -> StudyRecord:
    config = {"loss": {"name": HOSTILE}, HOSTILE: {"nested": HOSTILE}}
    hostile = trial(1, 0.45, config=config, params={"loss.name": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}}, reason=HOSTILE)
    return study(
        trial(0, 0.46, params={"loss.name": "mse"}),
        hostile,
        dataclasses.replace(hostile, number=2, state=TrialState.FAILED),
        name=HOSTILE,
        searched=("loss.name", HOSTILE),
        provenance={HOSTILE: HOSTILE},
    )


def test_every_string_of_a_study_is_escaped() -> None:
    page = render(hostile_study())
    parsed, harmless = Page(page), Page(render(search(2)))
    assert parsed.num("script") == harmless.num("script") == 2
    assert parsed.num("img") == 0
    assert HOSTILE in parsed.text
    # In the figures' JSON, tags are escaped twice: for Plotly's own labels, then for the script.
    assert page.count("</script>") == 2
    assert "\\u0026lt;script\\u0026gt;" in page
    assert "\\u003cscript" not in page and "\\u003cimg" not in page


def test_plotly_can_be_inlined_as_it_is() -> None:
    assert "</script" not in get_plotlyjs().lower()


@pytest.mark.parametrize("num_trials", [1, 12])
def test_the_page_refers_to_nothing_outside_itself(num_trials: int) -> None:
    page = render(search(num_trials))
    parsed = Page(page)
    links = [v for _, attrs in parsed.tags for k, v in attrs.items() if k in ("src", "href", "srcset", "action")]
    assert links
    assert all(link and link.startswith("#") for link in links)
    assert parsed.num("link") == 0
    assert not re.search(r"@import|url\(", page[: page.index("</style>")])
    # Plotly's source holds addresses (licences, map tiles); the page's policy forbids fetching any.
    assert "https://" not in page.replace(get_plotlyjs(), "")
    policies = [a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1 and (policies[0] or "").startswith("default-src 'none'; ")
    assert not re.search(r"[*]|https?:|connect-src|'self'", policies[0] or "")


@pytest.mark.parametrize("cost", [None, "seconds"])
def test_navigation_leads_to_every_section(cost: str | None) -> None:
    tags = Page(render(dataclasses.replace(search(3), cost=cost))).tags
    assert any(attrs.get("id") == "score-against-cost" for _, attrs in tags) == (cost is not None)
    targets = [attrs["href"] for tag, attrs in tags if tag == "a"]
    assert targets == [f"#{attrs['id']}" for tag, attrs in tags if tag == "section"]


def test_writing_is_atomic_and_reproducible(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("an older report")
    write_report(search(5), out)
    assert out.read_text(encoding="utf-8") == render(search(5))
    assert list(tmp_path.iterdir()) == [out]


def test_a_missing_folder_is_the_users_error(tmp_path: Path) -> None:
    out = tmp_path / "missing" / "report.html"
    with pytest.raises(UserError, match=r"missing must exist, but it does not. Create it first"):
        write_report(search(1), out)


def test_a_study_without_a_score_is_the_users_error(tmp_path: Path) -> None:
    record = study(trial(0, None, state=TrialState.FAILED), trial(1, None, state=TrialState.RUNNING))
    with pytest.raises(UserError, match="'fb3 base' has none: its 2 trials are 1 failed, 1 running. Wait for"):
        write_report(record, tmp_path / "report.html")
    with pytest.raises(UserError, match="has none: its 0 trials are not started"):
        write_report(study(), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []

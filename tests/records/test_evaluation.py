from __future__ import annotations

from reconciler.records import evaluation as module
from reconciler.records.evaluation import Evaluation


def evaluation(path: str, value: int) -> Evaluation:
    data = "".join(f"k{number}: {value}\n" for number in range(300)).encode()
    return Evaluation(path, "", None, None, None, "", "", "", (), source=data)


def test_many_places_of_a_few_files_are_found_by_reading_each_once() -> None:
    one, other = evaluation("a.yaml", 1), evaluation("b.yaml", 2)
    module._document.cache_clear()
    for number in range(300):
        assert one.place(f"k{number}") == ("a.yaml", number + 1, len(f"k{number}: ") + 1)
        assert other.place(f"k{number}").path == "b.yaml"
    assert module._document.cache_info().misses == 2
    assert other.place("k299") == ("b.yaml", 300, 7)


def test_no_more_than_a_few_files_are_kept_read() -> None:
    for number in range(20):
        evaluation(f"{number}.yaml", number).place("k1")
    assert module._document.cache_info().currsize <= 4

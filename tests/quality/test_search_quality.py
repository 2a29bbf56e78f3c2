"""Search finds the note that was meant: the targets that the benchmark prints, held."""

from pathlib import Path

import pytest

from factory_mcp.domain.keywords import telling, tokens
from tests.quality.measured import measured, pairs


@pytest.mark.requirement("VECTOR-5")
def test_no_paraphrase_shares_a_content_word_with_its_note() -> None:
    """By stems, without the words that are in every text; and there are enough of both kinds."""
    paraphrases, keywords = pairs()
    shared = {q: set(telling(tokens(q))) & set(tokens(note)) for q, note in paraphrases}
    assert {} == {query: words for query, words in shared.items() if words}
    assert len(paraphrases) >= 50 <= len(keywords)
    notes = [note for _, note in (*paraphrases, *keywords)]
    assert len(notes) == len(set(notes))


@pytest.mark.requirement("VECTOR-5")
async def test_search_finds_what_was_meant(tmp_path: Path) -> None:
    """Meaning finds paraphrases, keywords find names, both find both; sealing costs nothing."""
    found = await measured(tmp_path)
    fused, sealed = found["fused"], found["sealed-fused"]
    assert fused.paraphrases_3 >= 0.75
    assert 1.0 == fused.keywords_1 == sealed.keywords_1
    assert sealed.paraphrases_3 >= fused.paraphrases_3 - 0.02
    assert sealed.paraphrases_1 >= fused.paraphrases_1 - 0.02
    assert found["keyword"].paraphrases_3 < 0.1
    assert found["vector"].paraphrases_3 - fused.paraphrases_3 < 0.05

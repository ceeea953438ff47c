from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gimp_plugin.cohort.grouping import file_order, random_order


def test_the_file_order_changes_nothing() -> None:
    assert file_order(["C", "A", "B"], values=None).tolist() == [0, 1, 2]


@settings(deadline=None)
@given(n_genes=st.integers(1, 40), seed=st.integers(0, 9), data=st.data())
def test_a_random_order_belongs_to_the_genes_and_the_seed(
    n_genes: int, seed: int, data: st.DataObject
) -> None:
    gene_ids = [f"G{gene}" for gene in range(n_genes)]
    shuffled = data.draw(st.permutations(gene_ids))

    order = random_order(gene_ids, seed=seed)

    assert sorted(order.tolist()) == list(range(n_genes))
    assert [gene_ids[gene] for gene in order] == [
        shuffled[gene] for gene in random_order(shuffled, seed=seed)
    ]


def test_another_seed_gives_another_order() -> None:
    gene_ids = [f"G{gene}" for gene in range(30)]

    assert random_order(gene_ids, seed=1).tolist() != random_order(gene_ids, seed=2).tolist()

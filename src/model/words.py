"""Names that models share, without imports: a typo is refused before NumPy loads."""

INPUTS = ("x_num", "x_cat", "input_ids", "attention_mask")  # keys of a batch, arguments of a net's forward
# model.categories: one column a category | one column of codes | codes that the estimator knows of
CATEGORIES = ("onehot", "codes", "native")
# model.net.numeric: how nets for tables read numbers, see `src.model.numeric.embed_numbers`
NUMERIC = ("linear", "quantiles", "trees", "periodic")

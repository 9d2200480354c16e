"""The words of model.categories, without imports: a typo is refused before NumPy loads."""

# one column a category | one column of codes | codes that the estimator knows of
CATEGORIES = ("onehot", "codes", "native")

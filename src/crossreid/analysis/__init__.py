"""Analysis: what a person looks at once an evaluation is done; drawings and one page, no training and no scoring."""

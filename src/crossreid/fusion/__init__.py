"""Several scores of the same pairs made one, by what each is worth."""

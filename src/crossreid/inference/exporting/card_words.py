"""Every model card's text on use: docs/responsible-use.md in short. A test keeps the two consistent."""

from __future__ import annotations

from crossreid.inference.exporting.card_schema import CardText

INTENDED_USE = tuple(
    CardText(title=title, text=text)
    for title, text in (
        (
            "Consent or another lawful ground",
            "Research, and re-identification where whoever runs it has a lawful ground for this purpose. Embeddings of people "
            "made to recognise them are biometric data in many laws.",
        ),
        (
            "A ranked list is never proof",
            "It always has a first entry. A person reviews a match before anything follows from it.",
        ),
        (
            "Error rates of your own cameras",
            "Measure on labelled images of your own site before use, and after each change.",
        ),
    )
)

KNOWN_FAILURES = tuple(
    CardText(title=title, text=text)
    for title, text in (
        ("Clothes are the identity", "Change of clothes breaks it, and two people in uniform are one."),
        (
            "Closed-set scores flatter",
            "The protocols guarantee a match in the gallery. In service most queries have none, and rank-1 says nothing about "
            "how often a stranger comes first.",
        ),
        (
            "Shift",
            "Another camera, season, height, compression or infrared lamp lowers accuracy, often by more than half.",
        ),
        (
            "Unequal error",
            "No balance of age, skin tone, dress or mobility aids is documented of the public sets. Unless errors by group were "
            "measured, assume that they differ.",
        ),
        (
            "Pseudo-infrared is not infrared",
            "Scores on pseudo-infrared queries are an upper bound of those on infrared ones.",
        ),
        ("The teacher's mistakes are distilled too", "Label noise in training identities is learned by every branch."),
    )
)

"""Searches for cues that nobody named."""

# `robustest_interpret.discovered_cues` runs the search for unnamed cues on one half of the samples, in this order:
#
# 1. `fixed_places`: places where most images of one class, and few of any other, have the same value. Patches found are
#    filled in before the search goes on: else their effect on brightness or edges would be found too.
# 2. `moving_marks`: small marks at another place in every image. They are filled in as well.
#    Of both kinds only what images have whole or not at all is proposed (`whole_marks`): a class's own shape comes in
#    degrees, and is named.
# 3. `fitted_changes`: whole images, in five families. A small classifier per family finds recognisable classes
#    (by `image_features`). The change (`changes`) after which other images score like the class is
#    proposed.
# 4. Changes tried on every model: proposed if they draw predictions to a class whose images look as if they had them.
# 5. `carrying_parts`: small parts of a class's images that draw answers to it wherever they are pasted. What recurs in
#    them is proposed; the rest is named in the verdict and decides nothing.
# 6. `triggers`: the smallest patch that leads to each class, by gradients; proposed for a class far cheaper to reach
#    than the others.
#
# Rows of numbers have columns and tokens instead (`fixed_places`).
#
# A *mark* of a class is a property that many of its samples, and few of any other class, have. Its *gap* is the share
# of the class's samples with the property, less the largest such share of another class. Only steps 4 to 6 use the
# model.
#
# A pass vouches only for cues as plain as the controls that were found, and not for cues that all samples or none have,
# or marks that turn, blend in, or are common to most classes.

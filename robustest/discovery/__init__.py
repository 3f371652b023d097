"""Searches for cues that nobody named, and for directions in which a model fails.

**Order of the search for unnamed cues.** `robustest.claims.cues.cue_proposals` runs it on one half of the samples:

1. `patch_places`: places where most images of one class, and few of any other, have the same value. Patches found are
   filled in, in all images, before the search goes on: else their effect on brightness or edges would be found too.
2. `moving_marks`: small marks that lie at another place in every image. They are filled in as well.
3. `fitted_changes`: whole images, in five families of features (properties, channels, spectra, edges, noise). A small
   classifier for each family finds classes whose images it recognises (`class_marks` on `image_features`). Then
   changes of other images are tried (`changes`): the change after which they score like the class is proposed.
4. Changes that are tried on every model. One that draws predictions to a class is proposed if the class's images also
   look as if they had it.
5. `triggers`: the smallest patch that leads to each class, by gradients. It is proposed for a class that is far
   cheaper to reach than the others.

Rows of numbers have columns and tokens instead (`row_columns`).

**A mark** of a class is a property that many of its samples have, and few samples of any other class. Its *gap* is the
share of the class's samples with the property, less the largest such share of another class. A mark is in the data; no
model is asked for it, except in steps 4 and 5.

**A `Proposal`** is a suspicion: a mark turned into a cue that can be switched on and off. An intervention on the other
half of the samples decides whether the model relies on it.

**Controls.** `robustest.claims.cues.controls` plants a cue of each family in the samples, in a model that relies on it,
and the same search must find it. So a pass vouches for cues as plain as the planted ones.

**A pass does not vouch for** cues that all samples have or none has; marks that turn, blend in, or are common to most
classes; a cue that was in the training data and is not in the samples given, unless a cheap patch leads to its class;
families whose control was not found; and anything outside of the families.

`failure_directions` is a search for something else: for each class a direction of an embedding along which a model's
errors lie apart from its hits.
"""

from robustest.discovery.proposals import Discovery as Discovery
from robustest.discovery.proposals import Proposal as Proposal

"""What the net says is what people say, and people who do not look are not heard."""

from robustest_people import assert_label_agreement


def test_the_net_says_what_people_say(robust_model, robust_data, robust_responses):
    assert robust_responses.inattentive == ("annotator-01",)
    assert_label_agreement(robust_model, robust_data, robust_responses, min_contained=0.90)

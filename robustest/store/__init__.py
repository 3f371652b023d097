"""Files of robustest: results, entries of finished work, adversarial inputs, baselines and histories.

No model passes and no verdicts. `files` and `baselines` do not load torch. Nothing is unpickled: tensors are
safetensors, everything else is JSON.
"""

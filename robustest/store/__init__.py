"""Files of robustest: results, finished work, adversarial inputs, baselines and histories.

No model passes and no verdicts. Nothing is unpickled: tensors are safetensors, everything else is JSON.
"""

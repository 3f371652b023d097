"""Keys of a telephone: each is the sum of a low and a high tone (DTMF, ITU-T Q.23), a tenth of a second at 8 kHz."""

import torch
from torch import nn

RATE, LENGTH = 8_000, 800
LOW, HIGH = (697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0)
KEYS = "123456789*0#"


def sounds(seed, number):
    """Return waves (N, T) in [-1, 1], and for each the place of its key in `KEYS`."""
    draw = torch.Generator().manual_seed(seed)
    key = torch.arange(number) % len(KEYS)
    low, high = torch.tensor(LOW)[key // 3].view(-1, 1), torch.tensor(HIGH)[key % 3].view(-1, 1)
    time = torch.arange(LENGTH) / RATE
    phase = 2 * torch.pi * torch.rand(2, number, 1, generator=draw)
    loudness = 0.1 + 0.3 * torch.rand(2, number, 1, generator=draw)
    tones = [torch.sin(2 * torch.pi * tone * time + at) for tone, at in zip((low, high), phase, strict=True)]
    return loudness[0] * tones[0] + loudness[1] * tones[1], key


class Listener(nn.Module):
    """The logarithm of the spectrum, and a small net that reads it."""

    def __init__(self):
        super().__init__()
        bins = LENGTH // 2 + 1
        self.net = nn.Sequential(nn.Linear(bins, 64), nn.ReLU(), nn.Linear(64, len(KEYS)))

    def forward(self, waves):
        return self.net((torch.fft.rfft(waves).abs() + 1e-3).log())


def trained(augment=lambda waves: waves):
    """Return a trained net; `augment` changes each batch of waves first."""
    torch.manual_seed(0)
    x, key = sounds(seed=0, number=360)
    net = Listener()
    optimizer = torch.optim.Adam(net.parameters(), 0.003)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(augment(x)), key).backward()
        optimizer.step()
    return net.eval()

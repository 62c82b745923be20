"""PyTorch modules whose loops TorchScript keeps, and which are exported as Loops with sequences of tensors.

No annotations are postponed here: TorchScript reads those of lists.
"""

import torch
from torch import nn

I, H = 5, 6


class Cell(nn.Module):
    """Weights of h = tanh(W x + V h)."""

    def __init__(self):
        super().__init__()
        self.W, self.V = nn.Linear(I, H), nn.Linear(H, H)


class ByNumber(Cell):
    """Takes steps by their number."""

    def forward(self, x):
        h = torch.zeros([x.size(0), 6])
        ys: list[torch.Tensor] = []
        for t in range(x.size(1)):
            h = torch.tanh(self.W(x[:, t]) + self.V(h))
            ys.append(h)
        return torch.stack(ys, 1)


class ByItem(Cell):
    """Takes the items of a list of all steps."""

    def forward(self, x):
        h = torch.zeros([x.size(0), 6])
        ys: list[torch.Tensor] = []
        for v in x.unbind(1):
            h = torch.tanh(self.W(v) + self.V(h))
            ys.append(h)
        return torch.stack(ys, 1)


class BySlice(Cell):
    """Takes slices of one step, and joins steps that have their axis."""

    def forward(self, x):
        h = torch.zeros([x.size(0), 6])
        ys: list[torch.Tensor] = []
        for t in range(x.size(1)):
            h = torch.tanh(self.W(x[:, t : t + 1].squeeze(1)) + self.V(h))
            ys.append(h.unsqueeze(1))
        return torch.cat(ys, 1)


class LastAlone(Cell):
    """Gives the last state."""

    def forward(self, x):
        h = torch.zeros([x.size(0), 6])
        for t in range(x.size(1)):
            h = torch.tanh(self.W(x[:, t]) + self.V(h))
        return h


class StepsAndLast(Cell):
    """Gives all steps and the last state."""

    def forward(self, x):
        h = torch.zeros([x.size(0), 6])
        ys: list[torch.Tensor] = []
        for t in range(x.size(1)):
            h = torch.tanh(self.W(x[:, t]) + self.V(h))
            ys += [h]
        return torch.stack(ys, 1), h


class TwoLoops(Cell):
    """Reads in one loop what another one has joined."""

    def forward(self, x):
        h = torch.zeros([x.size(0), 6])
        ys: list[torch.Tensor] = []
        for t in range(x.size(1)):
            h = torch.tanh(self.W(x[:, t]) + self.V(h))
            ys.append(h)
        y = torch.stack(ys, 1)
        k = torch.zeros([x.size(0), 6])
        zs: list[torch.Tensor] = []
        for t in range(y.size(1)):
            k = torch.tanh(self.V(y[:, t]) + k)
            zs.append(k)
        return torch.stack(zs, 1)


class FromTheSecond(Cell):
    """Reads every step but the first with the one before it."""

    def forward(self, x):
        h = torch.zeros([x.size(0), 6])
        ys: list[torch.Tensor] = []
        for t in range(1, x.size(1)):
            h = torch.tanh(self.W(x[:, t] - x[:, t - 1]) + self.V(h))
            ys.append(h)
        return torch.stack(ys, 1)


SCRIPTED = (ByNumber, ByItem, BySlice, LastAlone, StepsAndLast, TwoLoops)

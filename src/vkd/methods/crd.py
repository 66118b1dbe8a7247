"""CRD: distinguish a sample's own teacher features from those of other samples."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from vkd.errors import UserError
from vkd.methods.checks import (
    check_at_least,
    check_count,
    check_dims,
    check_positive,
    full_precision,
)
from vkd.methods.method import Method, Signals, Sizes, needed


class CRD(Method):
    """Noise-contrastive estimation between embeddings of the two sides, with a memory.

    Both sides are embedded linearly into D dimensions and scaled to length 1; memories hold the
    embeddings of all M samples. With an anchor v of one side, the memory's entry u_0 of the same
    sample and u_1 .. u_K of others on the other side, and P(u) = exp(v'u / tau) / Z:

    ``loss = -log(P(u_0) / (P(u_0) + K/M)) - sum_k log((K/M) / (P(u_k) + K/M))``

    averaged over the batch and summed over the two choices of the anchor's side. Z is estimated
    from the first batch and then kept. Negatives are drawn uniformly, with replacement, from all
    samples but the anchor's own, of any class; the paper's sampling by class needs the labels of
    the whole data set. In training the memory moves to the batch's embeddings with momentum.

    With several processes each scores its own rows. The memories take the rows of all of them and
    stay equal; all must hold equally many rows.

    Args:
        sizes: student_dim, teacher_dim, and samples M, at least 2.
        negatives: K, at least 1; never more than M - 1.
        temperature: tau, above 0.
        momentum: share of the memory that stays at an update, from 0 to below 1.
        embedding_dim: D, at least 1.

    Raises:
        UserError: if an option or a size is out of range.

    Source: Tian, Krishnan and Isola, "Contrastive Representation Distillation", ICLR 2020,
    section 3, equations 9 and 18, and its release.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"student_features", "teacher_features", "indices"})

    memory: Tensor
    log_normalizers: Tensor

    def __init__(
        self,
        sizes: Sizes,
        *,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        embedding_dim: int = 128,
    ) -> None:
        super().__init__(sizes)
        check_dims(sizes.student_dim, sizes.teacher_dim)
        if sizes.samples < 2:
            raise UserError(
                f"CRD needs samples, the number of training samples, to be at least 2, "
                f"found {sizes.samples}."
            )
        check_count("negatives", negatives)
        check_positive("temperature", temperature)
        check_count("embedding_dim", embedding_dim)
        check_at_least("momentum", momentum, 0)
        if momentum >= 1:
            raise UserError(f"momentum must be below 1, found {momentum}.")
        self.negatives = min(negatives, sizes.samples - 1)
        self.temperature, self.momentum = temperature, momentum
        self.embed_student = nn.Linear(sizes.student_dim, embedding_dim)
        self.embed_teacher = nn.Linear(sizes.teacher_dim, embedding_dim)
        # Student's and teacher's, each of them (samples, embedding_dim).
        memory = torch.randn(2, sizes.samples, embedding_dim)
        self.register_buffer("memory", F.normalize(memory, dim=2))
        # Of the student's and the teacher's anchors; -inf until the first batch.
        self.register_buffer("log_normalizers", torch.full((2,), -torch.inf))
        self._is_shared = False

    def buffers_kept_equal(self) -> set[str]:
        """Return the names of the buffers that all processes hold alike without DDP's help."""
        return {"memory", "log_normalizers"}

    def forward(self, signals: Signals) -> Tensor:
        """Return the scalar loss of a batch; in training, update the memory."""
        student, teacher, indices = needed(signals, self)
        indices = indices.long()
        self._share()
        with full_precision(student):
            ours = F.normalize(self.embed_student(student.float()), dim=1)
            known = F.normalize(self.embed_teacher(teacher.detach().float()), dim=1)
            drawn = torch.cat([indices[:, None], self._draw(indices)], dim=1)
            # Anchors meet the other side's memory. Its copy, which flip makes, outlives the update
            # until backward, and products with all of it cost less than copying the drawn rows.
            scores = torch.stack([ours, known]) @ self.memory.flip(0).mT
            scores = scores.gather(2, drawn.expand(2, -1, -1)) / self.temperature
            loss = self._contrast(scores)
            if self.training:
                self._remember(torch.stack([ours, known], dim=1).detach(), indices)
        return loss

    def _share(self) -> None:
        """Begin with the memory of the first process: DDP need not synchronise buffers."""
        if not self._is_shared and _processes() > 1:
            dist.broadcast(self.memory, src=0)
            dist.broadcast(self.log_normalizers, src=0)
        self._is_shared = True

    def _draw(self, indices: Tensor) -> Tensor:
        """Indices (N, K) of negatives."""
        shape = (len(indices), self.negatives)
        drawn = torch.randint(self.sizes.samples - 1, shape, device=indices.device)
        return drawn + (drawn >= indices[:, None]).long()  # skips the row's own

    def _contrast(self, scores: Tensor) -> Tensor:
        """The loss of scores (2, N, 1 + K), own sample first."""
        log_normalizers = self._estimate(scores.detach())[:, None, None]
        # P / (P + K/M) is the sigmoid of log P - log K/M.
        noise = math.log(self.negatives / self.sizes.samples)
        logits = scores - log_normalizers - noise
        own, others = logits[..., 0], logits[..., 1:]
        return -(F.logsigmoid(own) + F.logsigmoid(-others).sum(2)).mean(1).sum()

    @torch.no_grad()
    def _estimate(self, scores: Tensor) -> Tensor:
        """log Z (2,): what is kept, or M times the mean exponential of all processes' scores.

        Estimated each time, since asking whether it is known would stall a GPU.
        """
        rows = _gather(scores.logsumexp(2).T)
        mean = rows.logsumexp(0) - math.log(len(rows) * scores.shape[2])
        estimate = mean + math.log(self.sizes.samples)
        known = torch.where(self.log_normalizers.isfinite(), self.log_normalizers, estimate)
        if self.training:
            self.log_normalizers.copy_(known)
        return known

    @torch.no_grad()
    def _remember(self, embeddings: Tensor, indices: Tensor) -> None:
        """Move the memory towards embeddings (N, 2, D) of samples (N,), of all processes."""
        embeddings, indices = _gather(embeddings), _gather(indices)
        # A sample that occurs twice writes its last row twice: the order of writes is open.
        order = torch.arange(len(indices), device=indices.device)
        last = ((indices[:, None] == indices) * order).amax(1)
        new = embeddings[last].transpose(0, 1)
        moved = self.momentum * self.memory[:, indices] + (1 - self.momentum) * new
        self.memory.index_copy_(1, indices, F.normalize(moved, dim=2))


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _gather(rows: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks; without gradients."""
    if _processes() == 1:
        return rows
    rows = rows.contiguous()
    gathered = [torch.empty_like(rows) for _ in range(_processes())]
    dist.all_gather(gathered, rows)
    return torch.cat(gathered)

"""Text: a small BERT-like model learns from a larger one, by the first token of each sentence."""

import torch
from transformers import BertConfig, BertForSequenceClassification, DistilBertConfig
from transformers import DistilBertForSequenceClassification as DistilBert

import vkd

torch.manual_seed(0)
# from_pretrained(...) in real life; one tokenizer must serve both.
teacher = BertForSequenceClassification(
    BertConfig(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
    )
)
student = DistilBert(DistilBertConfig(vocab_size=50, dim=32, n_layers=1, n_heads=2, hidden_dim=64))

# Sentences whose label is whether more than half of their words are of the first 25.
lengths = torch.randint(6, 13, (64, 1))
words = torch.randint(1, 50, (64, 12))
mask = (torch.arange(12) < lengths).long()
labels = (((words < 25) & (mask == 1)).sum(1) > mask.sum(1) / 2).long()
batch = {"input_ids": words * mask, "attention_mask": mask}

distiller = vkd.Distiller(
    student,
    teacher,
    student_layer="distilbert.transformer",
    teacher_layer="bert.encoder",
    pool="token",
    example={name: part[:2] for name, part in batch.items()},
)
optimizer = torch.optim.AdamW(distiller.parameters(), lr=2e-3)

history = []
for _ in range(40):
    output, distillation_loss, _ = distiller(**batch)
    loss = torch.nn.functional.cross_entropy(output.logits, labels) + distillation_loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append((loss.item(), distillation_loss.item()))

print(f"loss: {history[0][0]:.3f} -> {history[-1][0]:.3f}")
print(f"distillation: {history[0][1]:.3f} -> {history[-1][1]:.3f}")

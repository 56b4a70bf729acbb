import torch
from ignite.engine import Events
from monai.engines.utils import DiffusionPrepareBatch
from monai.metrics.mmd import compute_mmd
from torchvision.utils import save_image


class Prepare(DiffusionPrepareBatch):
    def __init__(self, seed=None):
        super().__init__(1000)
        self.seed, self.generator = seed, None

    def __call__(self, batch, *arguments, **options):
        if self.seed is not None:
            self.generator = torch.Generator().manual_seed(self.seed)
        return super().__call__({**batch, "image": batch["image"] * 2 - 1}, *arguments, **options)

    def get_noise(self, images):
        return torch.randn(images.shape, generator=self.generator).to(images.device)

    def get_timesteps(self, images):
        return torch.randint(1000, images.shape[:1], generator=self.generator).to(images.device)


class Sampling:
    def __init__(self, inferer, network, size, seed, device):
        self.inferer, self.network, self.size, self.seed, self.device = inferer, network, size, seed, device

    def attach(self, engine):
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save_sheet)

    def save_sheet(self, engine):
        save_image(self.sample(range(16), self.seed + 1), f"epoch-{engine.state.epoch:03}.png", nrow=4)

    def sample(self, index, seed):
        shape = 1, self.size, self.size
        generators = [torch.Generator().manual_seed(seed * 1_000_003 + number) for number in index]
        noise = torch.stack([torch.randn(shape, generator=one) for one in generators]).to(self.device)
        self.network.eval()
        self.inferer.scheduler.set_timesteps(50)
        return self.inferer.sample(noise, self.network, verbose=False) / 2 + 0.5

    def generate(self, images):
        return torch.cat([self.sample(range(first, first + 64), self.seed) for first in range(0, images, 64)])

    def save(self, images):
        for number, image in enumerate(self.generate(images)):
            save_image(image, f"{number:06}.png")

    def compare(self, loader, images):
        real = torch.cat([batch["image"] for batch in loader])
        print("MMD", float(compute_mmd(real, self.generate(images)[: len(real)], None)))

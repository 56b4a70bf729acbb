"""The program of all of these examples, not counted: python main.py fit --model … --data …"""

from lightning.pytorch.cli import LightningCLI

if __name__ == "__main__":
    LightningCLI()

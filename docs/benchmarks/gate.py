"""What the gate does in years of nights, simulated with the noise of 400 digits: `python docs/benchmarks/gate.py [--nights N] [--runs N]`.

Every number is one of nights or runs with known truth: equal models, gains of a known size, small losses that add up.
"""

import argparse

import numpy as np
from tqdm import tqdm

from tests.support.nights import FID, FID_STD, MARGIN, SHIPPED, judge, lost_in_a_year, measured


def main() -> None:
    """Prints one line per question."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--nights", type=int, default=100_000, help="nights with a challenger that is as good as the champion"
    )
    parser.add_argument("--runs", type=int, default=200, help="runs of ten nights per gain, and years of drift")
    args = parser.parse_args()
    rng, gate = np.random.default_rng(0), {"fid_classes/x": "better"}
    nights = tqdm(range(args.nights), "equal models")
    verdicts = [judge(SHIPPED, measured(rng, SHIPPED), measured(rng, SHIPPED), gate=gate) for _ in nights]
    promoted, seeds = (np.array(values) for values in zip(*verdicts, strict=True))
    print(f"equal models: {promoted.sum()} of {args.nights:,} promoted; {seeds.mean():.1f} seeds per night on average")
    for noise in (1.0, 2.0, 3.0):
        for gain in (0.05, 0.1, 0.2):
            first, within = nights_to_promotion(rng, gain, noise, args.runs)
            size = gain * FID / (noise * FID_STD * 2**0.5)
            print(
                f"gain of {gain:.0%}, {size:.2f} standard deviations of a seed's difference: promoted in the first night in {first:.0%}, "
                f"within ten in {within:.0%} of {args.runs} runs"
            )
    for anchored in (True, False):
        years = [
            lost_in_a_year(np.random.default_rng([1, run]), anchored) for run in tqdm(range(args.runs // 10), "years")
        ]
        beyond = np.mean(np.array(years) > MARGIN)
        print(
            f"{'with' if anchored else 'without'} an anchor: coverage lost in a year {np.mean(years):.3f}, at most {max(years):.3f}; "
            f"beyond the margin in {beyond:.0%} of {len(years)} years"
        )


def nights_to_promotion(rng: np.random.Generator, gain: float, noise: float, runs: int) -> tuple[float, float]:
    """Shares of runs with a promotion in the first night, and within ten."""
    nights = []
    for _ in range(runs):
        champion = measured(rng, SHIPPED, noise=noise)
        tries = (judge(SHIPPED, measured(rng, SHIPPED, (1 - gain) * FID, noise=noise), champion)[0] for _ in range(10))
        nights.append(next((n for n, promoted in enumerate(tries) if promoted), 10))
    return float(np.mean(np.array(nights) == 0)), float(np.mean(np.array(nights) < 10))


if __name__ == "__main__":
    main()

import { SeededRandom } from '../kit/random.ts';

/** What clients ask a registry for: sizes in bytes by object, and objects in the order of asking. */
export interface Trace {
  readonly objects: readonly number[];
  readonly requests: readonly number[];
  readonly footprintBytes: number;
}

const repositories = 6_000;
const bases = 300;
const pulls = 63_000;

/** A pull finds a new version of its tag. */
const churn = 0.02;
/** A pull is of an image that nobody pulls again, as builds do. */
const oneOff = 0.15;
/** A client has the layers of the base already. */
const hasBase = 0.4;
const multiPlatform = 0.3;

const kb = 1_000;
const mb = 1_000_000;

interface Image {
  readonly index: number | undefined;
  readonly manifest: number;
  readonly config: number;
  readonly base: readonly number[];
  readonly own: readonly number[];
}

/**
 * Pulls as registries see them, from a seed: popularity of images and of their bases by Zipf's law,
 * sizes as in the studies of IBM's registries (FAST 2018) and of Docker Hub (CLUSTER 2019), tags that
 * move, images of one build. Each pull asks for an index (some), a manifest, a config and the layers
 * that the client lacks.
 */
export function syntheticTrace(seed: string): Trace {
  const draw = new Draws(seed);
  const objects: number[] = [];
  const add = (sizeBytes: number): number => objects.push(Math.max(32, Math.round(sizeBytes))) - 1;
  const layer = (): number => add(draw.layerBytes());
  const layersOf = (count: number): number[] => Array.from({ length: count }, layer);

  const baseLayers = Array.from({ length: bases }, () => layersOf(1 + draw.below(4)));
  const pickBase = draw.zipf(bases, 1);
  const pickRepository = draw.zipf(repositories, 0.9);
  const newImage = (base: readonly number[]): Image => ({
    index: draw.next() < multiPlatform ? add(draw.between(1 * kb, 10 * kb)) : undefined,
    manifest: add(draw.between(1 * kb, 5 * kb)),
    config: add(draw.between(2 * kb, 20 * kb)),
    base,
    own: layersOf(1 + Math.floor(Math.exp(2.3 * draw.next()))),
  });
  const images = Array.from({ length: repositories }, () => newImage(baseLayers[pickBase()]!));

  const requests: number[] = [];
  for (let pull = 0; pull < pulls; pull += 1) {
    const at = pickRepository();
    let image = images[at]!;
    if (draw.next() < oneOff) {
      image = newImage(baseLayers[pickBase()]!);
    } else if (draw.next() < churn) {
      image = newImage(image.base);
      images[at] = image;
    }
    if (image.index !== undefined) requests.push(image.index);
    requests.push(image.manifest, image.config);
    if (draw.next() >= hasBase) requests.push(...image.base);
    requests.push(...image.own);
  }
  const asked = new Set(requests);
  const footprintBytes = asked.values().reduce((sum, object) => sum + objects[object]!, 0);
  return { objects, requests, footprintBytes };
}

/** Draws from the distributions of the trace. */
class Draws extends SeededRandom {
  between(from: number, to: number): number {
    return from + this.next() * (to - from);
  }

  /** 65 % small, 15 % of 1 to 10 MB, 20 % large with a heavy tail. */
  layerBytes(): number {
    const kind = this.next();
    if (kind < 0.65) return Math.min(mb, this.#logNormal(6 * kb, 2.3));
    if (kind < 0.8) return mb * 10 ** this.next();
    return Math.min(8_000 * mb, this.#logNormal(45 * mb, 1.15));
  }

  /** Answers a function that draws ranks 0 to `count` − 1, the first the most often. */
  zipf(count: number, alpha: number): () => number {
    const sums: number[] = [];
    let sum = 0;
    for (let rank = 1; rank <= count; rank += 1) {
      sum += rank ** -alpha;
      sums.push(sum);
    }
    return () => {
      const wanted = this.next() * sum;
      let low = 0;
      let high = count - 1;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (sums[middle]! < wanted) low = middle + 1;
        else high = middle;
      }
      return low;
    };
  }

  #logNormal(median: number, sigma: number): number {
    // Box–Muller; 1 − x keeps the logarithm finite.
    const normal = Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
    return median * Math.exp(sigma * normal);
  }
}

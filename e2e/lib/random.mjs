// Random numbers that can be had again: the seed is printed, and can be given with the environment.

export class Random {
  #state;

  constructor(seed) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** The seed is the environment variable's, or a new one. */
  static seeded(variable) {
    const seed = Number(process.env[variable] ?? Math.floor(Math.random() * 2 ** 31));
    if (!Number.isInteger(seed)) throw new Error(`${variable} must be an integer`);
    console.log(`# ${variable}=${seed}`);
    return new Random(seed);
  }

  /** At least 0, less than 1 (mulberry32). */
  number() {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  between(low, high) {
    return low + this.number() * (high - low);
  }

  chance(probability) {
    return this.number() < probability;
  }

  /** One of the keys, each as often as its weight says. */
  weighted(weights) {
    let rest = this.number() * Object.values(weights).reduce((sum, weight) => sum + weight, 0);
    for (const [key, weight] of Object.entries(weights)) if ((rest -= weight) < 0) return key;
    return Object.keys(weights).at(-1);
  }
}

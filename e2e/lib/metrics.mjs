// Reads the Prometheus text format, as much of it as Caddy writes.

/** Parses a scrape into samples {name, labels, value}. */
export function parseMetrics(text) {
  const samples = [];
  for (const line of text.split('\n')) {
    const match = line.match(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/);
    if (!match) continue;
    const labels = {};
    for (const [, key, value] of (match[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[key] = value.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
    }
    samples.push({ name: match[1], labels, value: Number(match[3].replace('Inf', 'Infinity')) });
  }
  return samples;
}

/** One scrape; sums samples of a name over all labels that are not asked for. */
export class Scrape {
  constructor(text) {
    this.text = text;
    this.samples = parseMetrics(text);
  }

  select(name, labels = {}) {
    return this.samples.filter(
      (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
    );
  }

  sum(name, labels = {}) {
    return this.select(name, labels).reduce((total, sample) => total + sample.value, 0);
  }

  has(name) {
    return this.samples.some((sample) => sample.name === name);
  }
}

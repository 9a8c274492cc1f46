// Medians of few measurements, and how far they can be believed.

/** The median, and the interval that has the true one in it 95 times of 100, whatever the distribution; the smallest and largest if there are too few. */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const n = sorted.length;
  const middle = (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2;
  // as many of n are below the true median as heads come up in n throws
  let tail = 0;
  let rank = 0; // of the lower end, from 0
  for (let heads = 0, chance = 0.5 ** n; heads < n; chance *= (n - heads) / ++heads) {
    tail += chance;
    if (tail > 0.025) break;
    rank = heads;
  }
  return { median: middle, low: sorted[rank], high: sorted[n - 1 - rank] };
}

package main

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// series collects one figure per round.
type series []float64

func (s series) median() float64 {
	if len(s) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(s))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// spread gives the lowest and the highest figure.
func (s series) spread() (low, high float64) {
	if len(s) == 0 {
		return 0, 0
	}
	return slices.Min(s), slices.Max(s)
}

// interleave calls fn for each of n contestants once per round, each round in an order of its own.
func interleave(rounds, n int, fn func(round, i int) error) error {
	for round := range rounds {
		for _, i := range rand.Perm(n) {
			if err := fn(round, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func quantile[T cmp.Ordered](v []T, q float64) T {
	var zero T
	if len(v) == 0 {
		return zero
	}
	v = slices.Clone(v)
	slices.Sort(v)
	return v[min(len(v)-1, int(q*float64(len(v))))]
}

package main

import (
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   series
		want float64
	}{{nil, 0}, {series{3}, 3}, {series{9, 1, 2}, 2}, {series{4, 1, 3, 2}, 2.5}} {
		if got := c.in.median(); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.in, got, c.want)
		}
	}
}

func TestInterleaveIsFairAndInRounds(t *testing.T) {
	var rounds [4][]int
	orders := map[[5]int]bool{}
	for range 50 {
		rounds = [4][]int{}
		if err := interleave(4, 5, func(round, i int) error {
			for later := round + 1; later < 4; later++ {
				if len(rounds[later]) > 0 {
					t.Fatal("a round begins before the last has ended")
				}
			}
			rounds[round] = append(rounds[round], i)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, r := range rounds {
			orders[[5]int(r)] = true
			if slices.Sort(r); !slices.Equal(r, []int{0, 1, 2, 3, 4}) {
				t.Fatalf("a round of %v", r)
			}
		}
	}
	if len(orders) < 2 {
		t.Error("always in the same order")
	}
}

func TestGoalMet(t *testing.T) {
	for _, c := range []struct {
		ratio float64
		d     direction
		met   bool
	}{{1, atMost, true}, {1.1, atMost, false}, {1, atLeast, true}, {0.9, atLeast, false}} {
		if got := (goal{ratio: c.ratio, direction: c.d, limit: 1}).met(); got != c.met {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

package detect

import (
	"cmp"
	"slices"
)

// Find gives what is in b, which is all there is, by where it stands. As with an expression that is looked for again and
// again, what a rule found does not overlap; and what a generic rule found is left out where another found it too.
func (s *Set) Find(b []byte) []Found {
	var sc Scanner
	sc.Use(s)
	sc.Scan(b, false, true)
	return Settle(sc.Found)
}

// MayHold reports whether something in b begins as what is looked for does. It costs the one scan, and says nothing of the rest.
func (s *Set) MayHold(b []byte) bool {
	f := &s.filter
	for i := f.next(b, 0); i >= 0; i = f.next(b, i+2) {
		for _, e := range f.at(b, i) {
			a := &f.anchors[e.anchor]
			if e.may(b, i) && a.begins(b, i-int(e.shift)-a.chosen) {
				return true
			}
		}
	}
	return false
}

// Settle brings what was found into order, as Find gives it. It changes list.
func Settle(list []Found) []Found {
	slices.SortFunc(list, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.Rule.ID, b.Rule.ID), cmp.Compare(a.From, b.From), cmp.Compare(a.Start, b.Start))
	})
	kept := list[:0]
	for _, f := range list {
		if n := len(kept); n > 0 && kept[n-1].Rule == f.Rule && f.at < kept[n-1].To {
			continue
		}
		kept = append(kept, f)
	}
	slices.SortFunc(kept, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End), cmp.Compare(a.Rule.ID, b.Rule.ID))
	})
	return slices.DeleteFunc(kept, func(f Found) bool {
		return f.Rule.Group == Generic && slices.ContainsFunc(kept, func(g Found) bool {
			return g.Rule.Group != Generic && g.Start <= f.Start && g.End >= f.End
		})
	})
}

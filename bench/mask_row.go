package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"gatebook/internal/mask"
)

var cpuRate = regexp.MustCompile(`([\d.]+) cpuMB/s`)
var allocated = regexp.MustCompile(`([\d.]+) B/op`)

// maskRow is row 4, by the benchmarks of package mask, each in a process of its own.
func maskRow(ctx context.Context, o options, rep *report) error {
	test := filepath.Join(o.Dir, "mask.test")
	if _, err := output(ctx, "go", "test", "-c", "-o", test, "./internal/mask"); err != nil {
		return err
	}
	cases := []string{"gatebook/known=false", "gatebook/known=true", "gatebook/unseen", "encoding-json", "jsontext"}
	rate, memory := make([]series, len(cases)), make([]series, len(cases))
	err := interleave(o.Rounds, len(cases), func(round, i int) error {
		out, err := output(ctx, test, "-test.run", "^$", "-test.bench", "^BenchmarkSecretList$/^"+slashes(cases[i])+"$", "-test.cpu", "1", "-test.benchtime", fmt.Sprintf("%ds", o.Seconds), "-test.benchmem")
		if err != nil {
			return err
		}
		for re, s := range map[*regexp.Regexp]*series{cpuRate: &rate[i], allocated: &memory[i]} {
			m := re.FindStringSubmatch(out)
			if m == nil {
				return fmt.Errorf("benchmark %s said %q", cases[i], out)
			}
			v, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				return err
			}
			*s = append(*s, v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	names := []string{"gatebook, by structure", "gatebook, and by known values", "gatebook, every value for the first time", "encoding/json", "jsontext, token by token"}
	t := table{head: []string{"20 MB SecretList, one core", "MB per CPU second", "lowest–highest", "allocated per list, KiB"}}
	for i, name := range names {
		low, high := rate[i].spread()
		t.add(name, "%.0f", rate[i].median(), "%s", fmt.Sprintf("%.0f–%.0f", low, high), "%.0f", memory[i].median()/1024)
	}
	rep.tables = append(rep.tables, t)
	rep.goal("4", "masking a 20 MB SecretList against encoding/json, CPU", rate[0].median()/rate[3].median(), atLeast, 25)
	rep.goal("4", "the same against jsontext", rate[0].median()/rate[4].median(), atLeast, 3)
	rep.goal("4", "the same, known values looked for as well, against jsontext", rate[1].median()/rate[4].median(), atLeast, 3)
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := output(ctx, exe, "held")
	if err != nil {
		return err
	}
	held, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
	rep.goalIn("KiB", "4", "memory held in the midst of a list, by structure and known values", held/1024, atMost, 256)
	return err
}

// maskHeld says how much more is on the heap in the midst of a list than before it, the mask's knowledge of values left
// out: that is the engine's, once, not a stream's.
func maskHeld([]string) error {
	e, err := mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		return err
	}
	shape, err := mask.Compile(mask.Under("items.*", []mask.Rule{{Path: "data", Encoding: mask.Base64}, {Path: "stringData", Encoding: mask.Text}}))
	if err != nil {
		return err
	}
	doc, scope := secretList(20<<20), e.Scope("s")
	pass := func(middle func()) error {
		w := scope.JSON(io.Discard, shape, true)
		for at := 0; at < len(doc); at += 32 << 10 {
			if _, err := w.Write(doc[at:min(len(doc), at+32<<10)]); err != nil {
				return err
			}
			if at == len(doc)/2/(32<<10)*(32<<10) {
				middle()
			}
		}
		return w.Close()
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // pools are emptied by the second
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	if err := pass(func() {}); err != nil { // every value is known from here on
		return err
	}
	before, within := heap(), int64(0)
	if err := pass(func() { within = heap() }); err != nil {
		return err
	}
	fmt.Println(within - before)
	return nil
}

// slashes makes of a sub-benchmark's name the patterns of its levels.
func slashes(name string) string { return regexp.MustCompile(`/`).ReplaceAllString(name, "$/^") }

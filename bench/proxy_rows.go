package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// proxyRows are rows 5, 6 and 10: the gateway, twice, once with the default policy and once with the least, beside the
// proxies.
func proxyRows(ctx context.Context, o options, rep *report) error {
	f, err := newField(o.Dir)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.addPeers(ctx); err != nil {
		return err
	}
	target, err := toUpstream(f.dir, f.address)
	if err != nil {
		return err
	}
	for _, g := range []struct{ name, folder, policy string }{{"gatebook", "default", ""}, {"gatebook by one rule", "one-rule", allowAll}} {
		gw, err := newGateway(o.Gatebook, o.Dir, g.folder, g.policy, target)
		if err != nil {
			return err
		}
		defer gw.stop()
		c, err := gw.contestant(g.name)
		if err != nil {
			return err
		}
		f.proxies = append(f.proxies, c)
	}
	if len(o.Only) > 0 {
		f.proxies = slices.DeleteFunc(f.proxies, func(c contestant) bool { return !slices.Contains(o.Only, c.name) })
	}
	if slices.Contains(o.Rows, "6") || slices.Contains(o.Rows, "10") {
		if err := smallRow(ctx, o, f, rep); err != nil {
			return err
		}
	}
	if slices.Contains(o.Rows, "5") {
		return listRow(ctx, o, f, rep)
	}
	return nil
}

// only leaves out contestants that a row does not ask for.
func (f *field) only(without ...string) []contestant {
	return slices.DeleteFunc(slices.Clone(f.proxies), func(c contestant) bool { return slices.Contains(without, c.name) })
}

func smallRow(ctx context.Context, o options, f *field, rep *report) error {
	all := f.only()
	for _, c := range all {
		if _, err := c.wrk(ctx, f.dir, smallPath, 16, 1); err != nil { // connections, caches, heap
			return err
		}
	}
	cpu, p50, rate := make([]series, len(all)), make([]series, len(all)), make([]series, len(all))
	err := interleave(o.Rounds, len(all), func(round, i int) error {
		l, err := all[i].wrk(ctx, f.dir, smallPath, 16, o.Seconds)
		cpu[i] = append(cpu[i], l.cpu.Seconds()*1e6/max(1, l.Requests))
		p50[i] = append(p50[i], l.P50/1000)
		rate[i] = append(rate[i], l.Requests/max(1, l.Seconds))
		return err
	})
	if err != nil {
		return err
	}
	t := table{head: []string{"1 KB JSON, 16 connections", "CPU per request, µs", "lowest–highest", "p50, ms", "requests/s"}}
	at := map[string]float64{}
	for i, c := range all {
		low, high := cpu[i].spread()
		at[c.name] = cpu[i].median()
		t.add(c.name, "%.1f", cpu[i].median(), "%s", fmt.Sprintf("%.1f–%.1f", low, high), "%.2f", p50[i].median(), "%.0f", rate[i].median())
		progress("1 KB: %s %.1f µs", c.name, cpu[i].median())
	}
	rep.tables = append(rep.tables, t)
	rep.goal("6", "1 KB JSON over TLS on both sides: CPU per request against nginx", at["gatebook"]/at["nginx"], atMost, 1.5)
	rep.goal("6", "the same against `kubectl proxy`", at["gatebook"]/at["kubectl proxy"], atMost, 0.4)
	rep.note("Row 6: the standard library's own reverse proxy, which checks, decides and records nothing, is in the table as what an HTTP proxy in Go costs here; the goals of row 6 are below it.")
	rep.goal("10", "1 KB JSON: CPU per request with one rule, against that with the default policy", at["gatebook by one rule"]/at["gatebook"], atLeast, 0.97)
	return nil
}

func listRow(ctx context.Context, o options, f *field, rep *report) error {
	all := f.only("kubectl proxy", "gatebook by one rule")
	size := make([]float64, len(all))
	first := make([]series, len(all))
	cpu := make([]series, len(all))
	for i, c := range all {
		client := c.client()
		_, n, err := c.get(ctx, client, listPath)
		if err != nil {
			return err
		}
		size[i] = float64(n)
	}
	err := interleave(o.Rounds, len(all), func(round, i int) error {
		l, err := all[i].wrk(ctx, f.dir, listPath, 4, o.Seconds)
		if err != nil {
			return err
		}
		cpu[i] = append(cpu[i], l.cpu.Seconds()*1e3*size[i]/max(1, l.Bytes))
		return nil
	})
	if err != nil {
		return err
	}
	err = interleave(o.Rounds*8, len(all), func(round, i int) error {
		client := all[i].client()
		defer client.CloseIdleConnections()
		if _, _, err := all[i].get(ctx, client, smallPath); err != nil { // the connection, and the way to the upstream
			return err
		}
		d, _, err := all[i].get(ctx, client, listPath)
		first[i] = append(first[i], float64(d)/float64(time.Millisecond))
		return err
	})
	if err != nil {
		return err
	}
	t := table{head: []string{"10 MB SecretList, 4 connections", "CPU per list, ms", "lowest–highest", "first byte, ms (one client)"}}
	at, byName := map[string]float64{}, map[string]float64{}
	for i, c := range all {
		low, high := cpu[i].spread()
		at[c.name], byName[c.name] = cpu[i].median(), first[i].median()
		t.add(c.name, "%.1f", cpu[i].median(), "%s", fmt.Sprintf("%.1f–%.1f", low, high), "%.2f", first[i].median())
		progress("10 MB: %s %.1f ms", c.name, cpu[i].median())
	}
	rep.tables = append(rep.tables, t)
	rep.goal("5", "10 MB list over TLS on both sides, masked, hashed, recorded: CPU against nginx passing it through", at["gatebook"]/at["nginx"], atMost, 0.75)
	rep.note("Row 5 per list of 10 MB: the gateway reads it from one TLS connection, parses and masks it, looks for all known values, writes it to the journal, hashes it, and later reads it again, compresses and encrypts it for the archive; nginx decrypts and encrypts.")
	rep.goal("5", "its first byte against nginx's", byName["gatebook"]/byName["nginx"], atMost, 1.2)
	return nil
}

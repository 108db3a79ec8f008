package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"gatebook/test/lab"
)

// clusterRow is what a client feels in front of a real API server: one request after another, directly and through the
// gateway.
func clusterRow(ctx context.Context, o options, rep *report) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(cache, "gatebook", "cluster", "bin", "kube-apiserver")); err != nil && os.Getenv("GATEBOOK_CLUSTER") == "" {
		rep.note("The latency in front of a real API server was left out: `make cluster` has not been run.")
		return nil
	}
	cluster, err := lab.StartCluster(ctx, os.Stderr)
	if err != nil {
		return err
	}
	defer func() {
		if err := cluster.Stop(os.Stderr); err != nil {
			progress("stopping the cluster: %v", err)
		}
	}()
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig)
	if err != nil {
		return err
	}
	admin, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	gw, err := newGateway(o.Gatebook, o.Dir, "cluster", "", fmt.Sprintf("  - {name: bench, kubeconfig: %s, impersonate: false}", cluster.Kubeconfig))
	if err != nil {
		return err
	}
	defer gw.stop()
	c, err := gw.contestant("gatebook")
	if err != nil {
		return err
	}
	const path = "/api/v1/namespaces/kube-system"
	ways := []struct {
		client     *http.Client
		url, token string
	}{{admin, config.Host + path, ""}, {c.client(), c.base + path, c.token}}
	took := make([]series, len(ways))
	err = interleave(o.Rounds*o.Seconds*4, len(ways), func(_, i int) error {
		for range 50 {
			d, err := ask(ctx, ways[i].client, ways[i].url, ways[i].token)
			if err != nil {
				return err
			}
			took[i] = append(took[i], float64(d)/float64(time.Millisecond))
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := table{head: []string{"one GET after another, real kube-apiserver", "p50, ms", "p90, ms"}}
	for i, name := range []string{"directly", "through gatebook"} {
		t.add(name, "%.2f", took[i].median(), "%.2f", quantile(took[i], 0.9))
	}
	rep.tables = append(rep.tables, t)
	return nil
}

func ask(ctx context.Context, client *http.Client, url, token string) (time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	began := time.Now()
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return time.Since(began), err
}

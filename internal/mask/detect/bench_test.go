package detect

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// secretList is a SecretList as kubectl prints it.
func secretList(size int) []byte {
	var b strings.Builder
	rng := rand.New(rand.NewPCG(5, 6))
	b.WriteString("{\n    \"apiVersion\": \"v1\",\n    \"items\": [\n")
	for i := 0; b.Len() < size; i++ {
		secret := make([]byte, 24)
		for j := range secret {
			secret[j] = byte(rng.IntN(256))
		}
		fmt.Fprintf(&b, `        {
            "apiVersion": "v1",
            "data": {
                "password": "%s",
                "username": "YXBw",
                "uri": "%s"
            },
            "kind": "Secret",
            "metadata": {
                "creationTimestamp": "2026-11-30T10:00:00Z",
                "labels": {
                    "app.kubernetes.io/name": "service-%d"
                },
                "name": "credentials-%d",
                "namespace": "team-%d",
                "resourceVersion": "%d",
                "uid": "%08x-1234-4321-8765-%012x"
            },
            "type": "Opaque"
        },
`, base64.StdEncoding.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret[:12]), i, i, i%40, 100000+i, rng.Uint32(), rng.Uint64()>>16)
	}
	b.WriteString("    ]\n}\n")
	return []byte(b.String())
}

func logs(size int) []byte {
	var b strings.Builder
	rng := rand.New(rand.NewPCG(7, 8))
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "2026-11-30T10:%02d:%02d.%03dZ INFO  request completed method=GET path=/api/v1/orders/%d status=200 duration=%dms trace=%016x\n", i/60%60, i%60, rng.IntN(1000), rng.IntN(100000), rng.IntN(500), rng.Uint64())
		if i%7 == 0 {
			fmt.Fprintf(&b, "2026-11-30T10:00:00.000Z WARN  retrying connection to postgres-0.postgres.svc.cluster.local:5432 after %d attempts: connection refused\n", rng.IntN(9))
		}
	}
	return []byte(b.String())
}

func BenchmarkFind(b *testing.B) {
	for name, text := range map[string][]byte{"secrets": secretList(256 << 10), "logs": logs(1 << 20)} {
		for set, names := range map[string][]string{"credentials": {Credentials}, "all": {Credentials, Assigned, Generic}} {
			b.Run(name+"/"+set, func(b *testing.B) {
				s, err := Select(names)
				if err != nil {
					b.Fatal(err)
				}
				var sc Scanner
				sc.Use(s)
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					sc.Scan(text, false, true)
				}
				b.ReportMetric(float64(len(sc.Found)), "found")
			})
		}
	}
}

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/attribution"
	"gatebook/internal/mask"
)

// What telemetry names is put on record where it contradicts what was seen, and so must be no secret.
func TestTelemetryBringsNoSecrets(t *testing.T) {
	masks, err := mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	masks.Learn([]byte("hunter2-correct-horse"))
	var said []string
	g := &gateway{masks: masks, attribution: attribution.New(attribution.Options{Now: time.Now, Record: func(_ access.SessionID, c access.Cause) error {
		said = append(said, c.Flags...)
		return nil
	}})}
	by := access.Principal{Issuer: "i", Subject: "s"}
	g.attribution.Attribute(&access.Operation{ID: "op", Session: "s", Time: time.Now(), Principal: by, Web: &access.Web{}, Client: access.Client{Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})
	for _, call := range []string{"hunter2-correct-horse", "gh" + "p_" + strings.Repeat("Aa9xQz", 6), "toolu_1"} {
		g.span(by, "s", attribution.Span{Trace: "0af7651916cd43dd8448eb211c80319c", ID: "b7ad6b7169203331", Call: call})
	}
	if all := strings.Join(said, "; "); len(said) != 1 || !strings.Contains(all, "toolu_1") {
		t.Errorf("on record is %q", all)
	}
}

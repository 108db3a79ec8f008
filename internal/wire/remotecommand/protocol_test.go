package remotecommand

import (
	"net/http"
	"testing"
)

func TestChoose(t *testing.T) {
	const wsHeader, spdyHeader = "Sec-Websocket-Protocol", "X-Stream-Protocol-Version"
	for _, c := range []struct {
		name    string
		choose  func(http.Header) (Protocol, error)
		header  string
		offered []string
		want    Protocol
		refused bool
	}{
		{"kubectl", ChooseWebSocket, wsHeader, []string{"v5.channel.k8s.io"}, V5, false},
		{"v5 anywhere", ChooseWebSocket, wsHeader, []string{"v4.channel.k8s.io, v5.channel.k8s.io"}, V5, false},
		{"client's order", ChooseWebSocket, wsHeader, []string{"base64.channel.k8s.io", "v4.channel.k8s.io"}, V1Base64, false},
		{"none named", ChooseWebSocket, wsHeader, nil, "", false},
		{"unknown", ChooseWebSocket, wsHeader, []string{"v6.channel.k8s.io"}, "", true},
		{"another case", ChooseWebSocket, wsHeader, []string{"V4.channel.k8s.io"}, "", true},
		{"spdy only", ChooseWebSocket, wsHeader, []string{"v2.channel.k8s.io"}, "", true},
		{"kubectl", ChooseSPDY, spdyHeader, []string{"v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"}, V4, false},
		{"one field", ChooseSPDY, spdyHeader, []string{"v9.channel.k8s.io, v3.channel.k8s.io"}, V3, false},
		{"none named", ChooseSPDY, spdyHeader, nil, "", true},
		{"base64", ChooseSPDY, spdyHeader, []string{"base64.channel.k8s.io"}, "", true},
	} {
		got, err := c.choose(http.Header{c.header: c.offered})
		if got != c.want || (err != nil) != c.refused {
			t.Errorf("%s %q: %q, %v", c.name, c.offered, got, err)
		}
	}
}

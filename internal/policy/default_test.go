package policy

import "testing"

func TestDefaultLoads(t *testing.T) {
	s, err := Load(Default())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(len(s.rules), s.Digest())
}

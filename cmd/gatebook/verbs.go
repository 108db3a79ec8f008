package main

import "github.com/spf13/cobra"

// verbs are all commands; each adds itself.
func verbs() []func(*cobra.Command) {
	return []func(*cobra.Command){
		addServe, addUp, addConfig,
		addLogin, addToken, addKubeconfig, addEnv, addConnect, addWhoAmI,
		addApprovals, addApprove, addDeny, addRevoke, addForget,
		addSessions, addSearch, addWhy, addTimeline, addShow, addTail, addReplay, addExport, addVerify, addCheckpoint,
		addPolicy, addIndex,
	}
}

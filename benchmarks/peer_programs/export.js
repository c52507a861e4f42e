// firestore-export-import (the repository firestore-backup-restore): documents with their subcollections into one file of JSON.
const fs = require('fs')
const { Firestore } = require('@google-cloud/firestore')
const { backup } = require('firestore-export-import')

const [project, file, ...collections] = process.argv.slice(2)
const firestore = new Firestore({ projectId: project })

async function main() {
  const found = {}
  for (const name of collections) Object.assign(found, await backup(firestore, name))
  fs.writeFileSync(file, JSON.stringify(found))
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})

from fetfast.cli import main

main()

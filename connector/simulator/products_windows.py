r"""Software found on Windows devices, in the API's spelling. A table in the form that `catalogue` reads."""

from __future__ import annotations

from typing import Final

OPERATING_SYSTEMS: Final = r"""
microsoft windows_10 | w30 | c30 | *1 10.0.17763.7792 10.0.17763.7919 10.0.17763.8027 @2029-01-09; *5 10.0.19045.6332 10.0.19045.6396 10.0.19045.6456 10.0.19045.6575 10.0.19045.6691 !2025-10-14 |
microsoft windows_11 | w70 | c30 | *2 10.0.22631.5768 10.0.22631.5909 10.0.22631.6060 10.0.22631.6199 @2026-11-10; *6 10.0.26100.6584 10.0.26100.6899 10.0.26100.7171 10.0.26100.7462 @2027-10-12; *4 10.0.26200.6899 10.0.26200.7171 10.0.26200.7462 @2028-10-10 |
microsoft windows_server_2012_r2 | s6 | c60 | 6.3.9600.22676 6.3.9600.22774 6.3.9600.22826 !2023-10-10 |
microsoft windows_server_2016 | s18 | c30 | 10.0.14393.8422 10.0.14393.8519 10.0.14393.8594 10.0.14393.8688 !2027-01-12 |
microsoft windows_server_2019 | s28 | c30 | 10.0.17763.7792 10.0.17763.7919 10.0.17763.8027 10.0.17763.8146 !2029-01-09 |
microsoft windows_server_2022 | s34 | c30 | 10.0.20348.4171 10.0.20348.4294 10.0.20348.4405 10.0.20348.4529 !2031-10-14 |
microsoft windows_server_2025 | s14 | c30 | 10.0.26100.6584 10.0.26100.6899 10.0.26100.7171 10.0.26100.7462 !2034-10-10 |
"""
"""Every Windows device has one of these; the shares add up to 100 for each kind."""

MICROSOFT: Final = r"""
microsoft edge_chromium-based | w100 s85 | c24 keep | 142.0.3595.94 143.0.3650.66 143.0.3650.80 143.0.3650.96 | PF86\Microsoft\Edge\Application\msedge.exe; PF86\Microsoft\Edge\Application\{v}\msedge.dll; HKUN32\Microsoft Edge
microsoft edge_webview2_runtime | w99 s50 | c24 keep | 142.0.3595.94 143.0.3650.66 143.0.3650.80 143.0.3650.96 | PF86\Microsoft\EdgeWebView\Application\{v}\msedgewebview2.exe; HKUN32\Microsoft EdgeWebView
microsoft internet_explorer | w45 s80 | c900 | 11.0.19041.1566 11.0.20348.2849 !2022-06-15 | PF\Internet Explorer\iexplore.exe; PF86\Internet Explorer\iexplore.exe
microsoft office | w86 s6 | c28 | *1 15.0.5603.1000 @2023-04-11; *1 16.0.5522.1000 16.0.5526.1000 @2025-10-14; *2 16.0.10417.20068 16.0.10417.20075 @2025-10-14; *7 16.0.19231.20246 16.0.19328.20266 16.0.19426.20218 | PF\Microsoft Office\root\Office16\WINWORD.EXE; PF\Microsoft Office\root\Office16\EXCEL.EXE; PF\Microsoft Office\root\Office16\POWERPNT.EXE; HKUN\O365ProPlusRetail - en-us
microsoft outlook | w82 | c28 | 16.0.19231.20246 16.0.19328.20266 16.0.19426.20218 | PF\Microsoft Office\root\Office16\OUTLOOK.EXE
microsoft word | w80 | c28 | 16.0.19231.20246 16.0.19328.20266 16.0.19426.20218 | PF\Microsoft Office\root\Office16\WINWORD.EXE
microsoft excel | w80 | c28 | 16.0.19231.20246 16.0.19328.20266 16.0.19426.20218 | PF\Microsoft Office\root\Office16\EXCEL.EXE
microsoft powerpoint | w78 | c28 | 16.0.19231.20246 16.0.19328.20266 16.0.19426.20218 | PF\Microsoft Office\root\Office16\POWERPNT.EXE
microsoft access | w40 | c28 | 16.0.19231.20246 16.0.19328.20266 16.0.19426.20218 | PF\Microsoft Office\root\Office16\MSACCESS.EXE
microsoft publisher | w25 | c28 | 16.0.19231.20246 16.0.19328.20266 16.0.19426.20218 !2026-10-13 | PF\Microsoft Office\root\Office16\MSPUB.EXE
microsoft onenote | w76 | c28 | 16.0.19231.20246 16.0.19328.20266 16.0.19426.20218 | PF\Microsoft Office\root\Office16\ONENOTE.EXE
microsoft project | w9 | c28 | 16.0.19231.20246 16.0.19328.20266 16.0.19426.20218 | PF\Microsoft Office\root\Office16\WINPROJ.EXE
microsoft visio | w14 | c28 | 16.0.19231.20246 16.0.19328.20266 16.0.19426.20218 | PF\Microsoft Office\root\Office16\VISIO.EXE
microsoft skype_for_business | w20 | c60 | 16.0.10417.20068 16.0.10417.20075 @2025-10-14 | PF\Microsoft Office\root\Office16\lync.exe
microsoft teams | w88 s2 | c14 | 25290.302.4044.3989 25306.804.4102.7193 25332.1210.4188.1171 25352.1805.4290.9114 | PF\WindowsApps\MSTeams_{v}_x64__8wekyb3d8bbwe\ms-teams.exe
microsoft teams_classic | w18 | c400 | 1.7.00.13456 1.8.00.4559 !2024-07-01 | LOCAL\Microsoft\Teams\current\Teams.exe; HKUSER\Teams
microsoft onedrive | w93 s4 | c21 | 25.199.1012.0002 25.209.1026.0002 25.222.1112.0002 25.224.1116.0003 | LOCAL\Microsoft\OneDrive\OneDrive.exe; PF\Microsoft OneDrive\OneDrive.exe; HKUSER\OneDriveSetup.exe
microsoft company_portal | w60 | c45 | 11.2.1393.0 11.2.1495.0 11.2.1572.0 | PF\WindowsApps\Microsoft.CompanyPortal_{v}_x64__8wekyb3d8bbwe\CompanyPortal.exe
microsoft quick_assist | w70 | c60 | 2.0.35.0 2.0.36.0 2.0.40.0 | PF\WindowsApps\MicrosoftCorporationII.QuickAssist_{v}_x64__8wekyb3d8bbwe\QuickAssist.exe
microsoft remote_desktop | w24 | c45 | 1.2.6278.0 1.2.6424.0 1.2.6599.0 !2026-03-27 | PF\Remote Desktop\msrdc.exe; HKUN\{1F2A7E5C-9E8B-4B4C-8F21-2E8C2F3D0A11}
microsoft windows_app | w30 | c30 | 2.0.704.0 2.0.758.0 2.0.802.0 | PF\WindowsApps\MicrosoftCorporationII.Windows365_{v}_x64__8wekyb3d8bbwe\Windows365.exe
microsoft visual_studio_code | w38 s5 | c14 | 1.106.0 1.106.1 1.106.2 1.106.3 | LOCAL\Programs\Microsoft VS Code\Code.exe; PF\Microsoft VS Code\Code.exe; HKUSER\{771FD6B0-FA20-440A-A002-3B3BAC16DC50}_is1
microsoft visual_studio_2017 | w4 | c90 | 15.9.69 15.9.75 15.9.77 @2027-04-13 | PF86\Microsoft Visual Studio\2017\Professional\Common7\IDE\devenv.exe; HKUN32\5a2e6b0c
microsoft visual_studio_2019 | w7 | c60 | 16.11.50 16.11.52 16.11.53 @2029-04-10 | PF86\Microsoft Visual Studio\2019\Professional\Common7\IDE\devenv.exe; HKUN32\8f1c2d7e
microsoft visual_studio_2022 | w14 s2 | c21 | 17.14.19 17.14.21 17.14.22 17.14.23 @2032-01-13 | PF\Microsoft Visual Studio\2022\Professional\Common7\IDE\devenv.exe; HKUN32\3d7b0f45
microsoft .net | w70 s48 | c30 sbs | *3 6.0.35 6.0.36 @2024-11-12; *1 7.0.19 7.0.20 @2024-05-14; *6 8.0.20 8.0.21 8.0.22 8.0.23 @2026-11-10; *3 9.0.9 9.0.10 9.0.11 @2026-11-10; *2 10.0.0 10.0.1 @2028-11-14 | PF\dotnet\shared\Microsoft.NETCore.App\{v}\coreclr.dll; PF\dotnet\dotnet.exe
microsoft asp.net_core | w38 s56 | c30 sbs | *3 6.0.35 6.0.36 @2024-11-12; *6 8.0.20 8.0.21 8.0.22 8.0.23 @2026-11-10; *3 9.0.9 9.0.10 9.0.11 @2026-11-10 | PF\dotnet\shared\Microsoft.AspNetCore.App\{v}\Microsoft.AspNetCore.dll; HKUN32\Microsoft ASP.NET Core {v} Shared Framework
microsoft .net_core | w14 s22 | c900 sbs | *1 2.1.30 !2021-08-21; *3 3.1.31 3.1.32 !2022-12-13; *1 5.0.17 !2022-05-10 | PF\dotnet\shared\Microsoft.NETCore.App\{v}\coreclr.dll
microsoft .net_framework | w100 s100 | c60 sbs | *1 3.5.30729.9173 @2029-01-09; *6 4.8.4795.0 4.8.9310.0 4.8.9324.0 | WIN\Microsoft.NET\Framework64\v4.0.30319\clr.dll; WIN\Microsoft.NET\Framework\v4.0.30319\clr.dll; HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\NET Framework Setup\NDP\v4\Full
microsoft visual_c++_2005_redistributable | w30 s26 | c2000 sbs | 8.0.56336 8.0.61001 @2016-04-12 | HKUN32\{710f4c1c-cc18-4c49-8cbf-51240c89a1a2}
microsoft visual_c++_2008_redistributable | w52 s46 | c2000 sbs | 9.0.30729.4148 9.0.30729.6161 @2018-04-10 | HKUN32\{9BE518E6-ECC6-35A9-88E4-87755C07200F}
microsoft visual_c++_2010_redistributable | w66 s60 | c2000 sbs | 10.0.30319 10.0.40219 @2020-07-14 | SYS\msvcr100.dll; HKUN\{1D8E6291-B0D5-35EC-8441-6616F567A0F7}
microsoft visual_c++_2012_redistributable | w64 s62 | c2000 sbs | 11.0.60610.1 11.0.61030.0 @2023-01-10 | SYS\msvcr110.dll; HKUN\{CF2BEA3C-26EA-32F8-AA9B-331F7E34BA97}
microsoft visual_c++_2013_redistributable | w78 s74 | c2000 sbs | 12.0.30501.0 12.0.40664.0 @2024-04-09 | SYS\msvcr120.dll; HKUN\{929FBD26-9020-399B-9A7A-751D61F0B942}
microsoft visual_c++_2015-2022_redistributable | w97 s95 | c90 sbs | *5 14.42.34438.0 14.44.35211.0 14.44.35215.0; *1 14.29.30139.0 14.29.30157.0 | SYS\vcruntime140.dll; SYS\msvcp140.dll; HKUN32\{804e7d66-ccc2-4c12-84ba-476da31d103d}
microsoft sql_server_management_studio | w9 s20 | c40 | *1 18.12.1; *3 20.2.30.0 20.2.37.0; *2 21.5.14 21.6.17 | PF86\Microsoft SQL Server Management Studio 20\Common7\IDE\Ssms.exe; HKUN32\{f3b4a2e1-9c5d-4a34-8f0d-57b0d3f6b1aa}
microsoft odbc_driver_for_sql_server | w46 s62 | c90 sbs | *3 17.10.5.1 17.10.6.1; *4 18.4.1.1 18.5.1.1 18.5.2.1 | SYS\msodbcsql17.dll; HKUN\{9D8E8A8F-0F3B-4B8E-9D5D-6A1B8C7E2F10}
microsoft ole_db_driver_for_sql_server | w28 s44 | c90 | *3 18.7.4.0 18.7.5.0; *2 19.3.5.0 19.4.1.0 | SYS\msoledbsql.dll; HKUN\{6E2E5C1B-1D1F-4A79-9E54-2C7A8E0B5D33}
microsoft sql_server_native_client | w18 s38 | c900 | 11.3.6538.0 11.4.7001.0 11.4.7462.6 !2022-07-12 | SYS\sqlncli11.dll; HKUN\{49D665A2-4C2A-476E-9AB8-FCC425F526FC}
microsoft sql_server | w2 s32 | c60 | *1 11.0.7507.2 @2022-07-12; *2 12.0.6449.1 @2024-07-09; *4 13.0.6470.1 13.0.7070.1 @2026-07-14; *3 14.0.3505.1 14.0.3515.1 @2027-10-12; *5 15.0.4445.1 15.0.4455.2 @2030-01-08; *4 16.0.4215.2 16.0.4225.2 @2033-01-11 | PF\Microsoft SQL Server\MSSQL\MSSQL\Binn\sqlservr.exe; HKUN\Microsoft SQL Server SQL2019
microsoft sql_server_local_db | w10 s8 | c120 | *1 13.0.4001.0 @2026-07-14; *3 15.0.4153.1 15.0.4382.1 @2030-01-08 | PF\Microsoft SQL Server\150\LocalDB\Binn\sqlservr.exe
microsoft exchange_server_2016 | s5 | c60 | 15.1.2507.57 15.1.2507.58 15.1.2507.61 !2025-10-14 | PF\Microsoft\Exchange Server\V15\Bin\ExSetup.exe; HKUN\Microsoft Exchange v15
microsoft exchange_server_2019 | s6 | c60 | 15.2.1748.26 15.2.1748.36 15.2.1748.39 !2025-10-14 | PF\Microsoft\Exchange Server\V15\Bin\ExSetup.exe; HKUN\Microsoft Exchange v15
microsoft sharepoint_server_2019 | s4 | c30 | 16.0.10417.20059 16.0.10417.20068 16.0.10417.20075 !2026-07-14 | PF\Common Files\Microsoft Shared\Web Server Extensions\16\BIN\OWSTIMER.EXE; HKUN\OSERVER
microsoft internet_information_services | w2 s44 | c900 | 10.0.17763.1 10.0.20348.1 | SYS\inetsrv\w3wp.exe
microsoft system_center_operations_manager_agent | s30 | c120 | 10.19.10014.0 10.22.10118.0 10.22.10337.0 | PF\Microsoft Monitoring Agent\Agent\MonitoringHost.exe; HKUN\{EE0183F4-3BF8-4EC8-8F7C-44D3BBE6FDF0}
microsoft configuration_manager_client | w70 s72 | c90 | 5.00.9128.1007 5.00.9132.1011 5.00.9135.1003 | WIN\CCM\CcmExec.exe; HKUN\{B6A3E3C1-7B5E-4C0E-9C4F-60F5F1B2A0E1}
microsoft intune_management_extension | w78 | c30 | 1.93.102.0 1.95.106.0 1.97.107.0 | PF86\Microsoft Intune Management Extension\Microsoft.Management.Services.IntuneWindowsAgent.exe; HKUN32\{7F5F5A2F-7F57-4B4B-A5C4-1B5B0A4D2C71}
microsoft azure_connected_machine_agent | s40 | c30 | 1.56.03167.2506 1.57.03211.2620 1.58.03228.2672 | PF\AzureConnectedMachineAgent\azcmagent.exe; HKUN\{C3F0C1F4-3F0D-4E02-8C74-1B43CBB5A2F5}
microsoft azure_monitor_agent | s45 | c30 | 1.37.0.0 1.38.1.0 1.39.0.0 | PF\Azure Monitor Agent\Agent\AzureMonitorAgentService.exe
microsoft log_analytics_agent | s20 | c500 | 10.20.18067.0 10.20.18069.0 !2024-08-31 | PF\Microsoft Monitoring Agent\Agent\HealthService.exe
microsoft azure_cli | w12 s10 | c21 | 2.78.0 2.79.0 2.80.0 2.81.0 | PF\Microsoft SDKs\Azure\CLI2\wbin\az.cmd; HKUN\{5A9B1E0E-4A77-4B24-9D6E-0E6C8D9B7B55}
microsoft azure_data_studio | w6 s6 | c200 | 1.50.0 1.51.1 1.52.0 !2026-02-28 | LOCAL\Programs\Azure Data Studio\azuredatastudio.exe; HKUSER\{6591F69E-6588-4980-81ED-C8FCBD7EC4B8}_is1
microsoft powershell | w22 s30 | c40 sbs | *1 7.2.23 7.2.24 @2024-11-08; *5 7.4.12 7.4.13 @2026-11-10; *4 7.5.3 7.5.4 @2026-11-10 | PF\PowerShell\7\pwsh.exe; HKUN\{B06D1894-3827-4E0C-A092-7DC50BE8B210}
microsoft power_bi_desktop | w18 | c30 | 2.148.1226.0 2.149.911.0 2.149.1204.0 | PF\Microsoft Power BI Desktop\bin\PBIDesktop.exe; HKUN\{9C1E6F0D-9B6E-4E5B-8C2D-4D5D7D4E9E22}
microsoft windows_admin_center | s6 | c120 | 2.4.1.28 2.4.12.10 2.5.0.20 | PF\WindowsAdminCenter\Service\WindowsAdminCenter.exe
microsoft silverlight | w9 s5 | c2000 | 5.1.50907.0 5.1.50918.0 !2021-10-12 | PF\Microsoft Silverlight\sllauncher.exe; HKUN\{89F4137D-6C26-4A84-BDB8-2E5A4BB71E00}
microsoft xml_core_services | w24 s34 | c2000 sbs | 4.20.9876.0 4.30.2117.0 !2014-04-12 | SYS\msxml4.dll; HKUN32\{859DFA95-E4A6-48CD-B88E-A3E483E89B44}
microsoft defender_for_endpoint | w98 s96 | c30 | 10.8800.29080.1012 10.8804.27894.1001 10.8810.28100.1002 | PD\Microsoft\Windows Defender Advanced Threat Protection\Platform\{v}\MsSense.exe
microsoft defender_antivirus | w98 s94 | c30 | 4.18.25090.3009 4.18.25100.9008 4.18.25110.6 | PD\Microsoft\Windows Defender\Platform\{v}\MsMpEng.exe
microsoft windows_subsystem_for_linux | w14 s2 | c40 | 2.5.10.0 2.6.1.0 2.6.3.0 | PF\WSL\wsl.exe; HKUN\{D4B5B8A6-7A0E-4C33-8B5C-3C9D5A0C5A77}
microsoft windows_terminal | w66 s6 | c50 | 1.22.12111.0 1.23.12811.0 1.23.13503.0 | PF\WindowsApps\Microsoft.WindowsTerminal_{v}_x64__8wekyb3d8bbwe\wt.exe
microsoft winget | w80 s8 | c50 | 1.11.510.0 1.12.350.0 1.12.440.0 | PF\WindowsApps\Microsoft.DesktopAppInstaller_{v}_x64__8wekyb3d8bbwe\winget.exe
microsoft paint_3d | w22 | c900 | 6.2203.1037.0 6.2410.13017.0 !2024-11-04 | PF\WindowsApps\Microsoft.MSPaint_{v}_x64__8wekyb3d8bbwe\PaintStudio.View.exe
microsoft 3d_viewer | w30 | c400 | 7.2307.27042.0 7.2407.16012.0 !2026-07-01 | PF\WindowsApps\Microsoft.Microsoft3DViewer_{v}_x64__8wekyb3d8bbwe\3DViewer.exe
microsoft hevc_video_extensions | w64 | c60 | 2.2.26.0 2.4.13.0 2.4.39.0 | PF\WindowsApps\Microsoft.HEVCVideoExtension_{v}_x64__8wekyb3d8bbwe\x86\msheif_store.dll
microsoft photos | w82 | c30 | 2025.11080.5001.0 2025.11090.20001.0 2025.11110.4001.0 | PF\WindowsApps\Microsoft.Windows.Photos_{v}_x64__8wekyb3d8bbwe\Photos.exe
microsoft whiteboard | w26 | c30 | 55.20829.583.0 55.21025.552.0 55.21112.548.0 | PF\WindowsApps\Microsoft.Whiteboard_{v}_x64__8wekyb3d8bbwe\MicrosoftWhiteboard.exe
microsoft web_deploy | s18 | c400 | *1 3.1237.1764 @2021-10-12; *2 10.0.5923 10.0.8215 | PF\IIS\Microsoft Web Deploy V3\msdeploy.exe; HKUN\{02F3E1F4-5B2F-4E6D-8A54-3B3DB1DF0E15}
microsoft report_viewer | w12 s18 | c2000 | 11.1.3452.0 12.0.2402.15 @2022-07-12 | HKUN32\{D1C6B5A2-0B3B-4E1C-9B8C-8B7A6C5D4E3F}
microsoft system_clr_types_for_sql_server | w20 s34 | c2000 sbs | *1 11.0.2100.60 @2022-07-12; *1 13.0.1601.5 @2026-07-14; *2 14.0.1000.169 @2027-10-12 | HKUN\{2774595F-BC2A-4B12-A25B-0C37A37049B0}
microsoft access_database_engine | w14 s16 | c900 | 14.0.7015.1000 !2020-10-13; 16.0.5044.1000 @2025-10-14 | PF\Common Files\Microsoft Shared\OFFICE16\ACECORE.DLL; HKUN\{90160000-00D1-0409-1000-0000000FF1CE}
"""
"""What Microsoft makes."""
